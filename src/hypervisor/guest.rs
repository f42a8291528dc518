//! The system inside a running domain.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::console::Console;
use super::exit::Exit;
use crate::error::Result;
use crate::stop::Stop;

/// A command in one of its two forms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CommandLine {
    /// A line for `/bin/sh -c`.
    Shell(String),
    /// A program and its arguments: no shell, no quoting.
    Argv(Vec<String>),
}

impl CommandLine {
    /// Returns the program and its arguments.
    pub fn words(&self) -> Vec<String> {
        match self {
            CommandLine::Shell(line) => ["/bin/sh", "-c", line].map(str::to_string).to_vec(),
            CommandLine::Argv(argv) => argv.clone(),
        }
    }

    /// Returns the command as errors name it: its first line, shortened.
    pub fn title(&self) -> String {
        const LONGEST: usize = 60;
        let text = match self {
            CommandLine::Shell(line) => line.trim().to_string(),
            CommandLine::Argv(argv) => argv.join(" "),
        };
        let first = text.lines().next().unwrap_or_default();
        let short: String = first.chars().take(LONGEST).collect();
        if short.len() == text.len() { short } else { format!("{short}...") }
    }
}

/// A command to run in a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub line: CommandLine,
    /// All of its input, if that is known before it starts.
    pub stdin: Vec<u8>,
    /// Added to the environment that it has in the guest.
    pub env: BTreeMap<String, String>,
    pub cwd: Option<String>,
    /// The user it runs as; without one, the guest agent's user, which is root.
    pub user: Option<String>,
}

impl Command {
    pub fn new(line: CommandLine) -> Self {
        Self { line, stdin: Vec::new(), env: BTreeMap::new(), cwd: None, user: None }
    }

    pub fn argv<const N: usize>(argv: [&str; N]) -> Self {
        Self::new(CommandLine::Argv(argv.map(str::to_string).to_vec()))
    }

    /// Returns the program and the arguments that run it with its variables.
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if !self.env.is_empty() {
            words.push("env".to_string());
            words.extend(self.env.iter().map(|(name, value)| format!("{name}={value}")));
        }
        words.extend(self.line.words());
        words
    }
}

/// A command's input while it runs: pieces of any size as they arrive; it ends when the sender is dropped.
pub type Input = Receiver<Result<Vec<u8>>>;

/// The signals for a command while it runs, by the numbers that they have in Linux.
pub type Signals = Receiver<i32>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Permissions and owner for a written file; the guest's defaults apply to what is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMode {
    /// Such as 0o644.
    pub mode: Option<u32>,
    /// `user` or `user:group`.
    pub owner: Option<String>,
}

/// Something that becomes true in a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// A path exists.
    Exists(String),
    /// Something listens on a TCP port.
    Listens(u16),
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(path) => write!(f, "`{path}`"),
            Self::Listens(port) => write!(f, "port {port}"),
        }
    }
}

/// What a path in a guest leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    Directory,
    /// A file, or anything else that is no directory.
    File,
    Missing,
}

/// Where an archive is to be unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpackTarget {
    pub kind: PathKind,
    /// The numbers of the user and the group that were asked for.
    pub owner: (u32, u32),
    /// Whether the guest's `tar` is GNU's: it knows files with holes, and leaves the modes of directories that are
    /// there already alone.
    pub has_gnu_tar: bool,
}

/// How an archive is unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnpackOptions {
    /// The mode of the directory that it is unpacked into, which is made if it is missing.
    pub makes: Option<u32>,
    /// Give what is unpacked to the owners in the archive; otherwise it belongs to root.
    pub keeps_owners: bool,
    /// Give directories that are there already the modes and the owners in the archive.
    pub changes_directories: bool,
}

/// Something in a directory of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestEntry {
    /// Below that directory.
    pub path: PathBuf,
    /// As in `st_mode`, with the kind of file.
    pub mode: u32,
    /// In bytes.
    pub size: u64,
    /// In seconds since the epoch.
    pub modified: u64,
}

/// The error when the sink of an archive fails.
pub const NO_READER: &str = "cannot write the archive";

/// What becomes of the TCP connections that a resumed guest had open to something outside of it, where nothing knows
/// of them any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connections {
    /// They end at once with an error (`ECONNABORTED`).
    #[default]
    Reset,
    /// They end when the guest gives them up.
    Kept,
}

/// What systemd says about a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitState {
    Active,
    Failed,
    /// Any other state: `inactive`, `activating`, ...
    Other(String),
}

/// How often a guest is asked that cannot wait for something itself.
const POLL: Duration = Duration::from_millis(250);

/// A TCP port on the host's 127.0.0.1 and one in a guest. One of them leads to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    pub host: u16,
    pub guest: u16,
}

/// The ports that are forwarded between the host and one guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// From the host's 127.0.0.1 into the guest.
    pub forwards: Vec<Forward>,
    /// From the guest's 127.0.0.1 to the host's.
    pub back: Vec<Forward>,
}

impl Ports {
    pub fn is_empty(&self) -> bool {
        self.forwards.is_empty() && self.back.is_empty()
    }
}

/// A forwarded port, until it is dropped.
pub struct OpenForward {
    pub forward: Forward,
    /// What holds it open.
    pub held: Box<dyn Any + Send + Sync>,
}

/// The system inside a running domain. Every call blocks until it is done, or until `stop` ends it.
pub trait Guest: Send + Sync {
    /// Waits until the guest answers.
    fn wait_until_ready(&self, stop: &Stop) -> Result<()>;

    /// Waits until the system has started what it starts at boot, such as a database. A system that cannot report this
    /// counts as ready; one that never finishes is not waited for long.
    fn wait_until_booted(&self, stop: &Stop) -> Result<()>;

    /// Runs a command and passes its output on while it runs. A status other than 0 is not an error here. If `stop`
    /// ends it, the command is killed in the guest.
    fn run(&self, command: &Command, output: &mut dyn FnMut(Stream, &[u8]), stop: &Stop) -> Result<Exit>;

    /// Runs a command as [`run`](Guest::run) does, passing `input` and `signals` on as they arrive: the command starts
    /// at once, and input that it does not read is not waited for. A signal goes to the command's process group; a guest
    /// with an [`obstacle`](Guest::obstacle) takes none.
    fn run_with_input(
        &self,
        command: &Command,
        input: &Input,
        signals: &Signals,
        output: &mut dyn FnMut(Stream, &[u8]),
        stop: &Stop,
    ) -> Result<Exit>;

    /// Runs a command on a terminal of this many rows and columns; says why not, if the guest cannot have one.
    fn terminal(
        &self,
        command: &Command,
        rows: u16,
        columns: u16,
        stop: &Stop,
    ) -> Result<Result<Box<dyn Console>, String>>;

    /// Forwards a port on the host's 127.0.0.1 to a TCP port of the guest's `localhost`, over the way into the guest, on
    /// any network or none. Where the host's port is 0, a free one is chosen. Says why not, if the guest cannot.
    fn forward(self: Arc<Self>, _forward: Forward, _stop: &Stop) -> Result<Result<OpenForward, String>> {
        Ok(Err("nothing carries it".to_string()))
    }

    /// Forwards a TCP port on the guest's 127.0.0.1 to one on the host's, in the same way.
    fn forward_back(self: Arc<Self>, _forward: Forward, _stop: &Stop) -> Result<Result<OpenForward, String>> {
        Ok(Err("nothing carries it".to_string()))
    }

    /// Closes the way into the guest, so that another process may have it. The next request opens it again.
    fn hang_up(&self) {}

    /// Reads a whole file of any size into `sink`; returns its length in bytes.
    fn read(&self, path: &str, sink: &mut dyn Write, stop: &Stop) -> Result<u64>;

    /// Replaces a file with what `source` yields; returns its length in bytes.
    fn write(&self, path: &str, source: &mut dyn Read, mode: &FileMode, stop: &Stop) -> Result<u64>;

    /// Says what a path leads to.
    fn kind_of(&self, path: &str, stop: &Stop) -> Result<PathKind>;

    /// Writes a tar archive of `name`, with everything in it, as it is in a directory. The names in it begin with
    /// `name`, which is `.` for the directory's own content.
    fn pack(&self, directory: &str, name: &str, archive: &mut dyn Write, stop: &Stop) -> Result<()>;

    /// Looks where an archive is to be unpacked, and for whom: `user` or `user:group`; root if that is not given.
    fn unpack_target(&self, path: &str, owner: Option<&str>, stop: &Stop) -> Result<UnpackTarget>;

    /// Unpacks a tar archive into a directory, as it arrives.
    fn unpack(&self, archive: &Input, directory: &str, options: &UnpackOptions, stop: &Stop) -> Result<()>;

    /// Lists everything below a directory.
    fn list(&self, directory: &str, stop: &Stop) -> Result<Vec<GuestEntry>>;

    /// Deletes files and whole directories, by their paths below a directory.
    fn remove(&self, directory: &str, paths: &[PathBuf], stop: &Stop) -> Result<()>;

    /// Says whether `path` exists.
    fn exists(&self, path: &str, stop: &Stop) -> Result<bool>;

    /// Says whether anything listens on a TCP port.
    fn listens(&self, port: u16, stop: &Stop) -> Result<bool>;

    /// Waits until a condition is true.
    fn wait_for(&self, condition: &Condition, stop: &Stop) -> Result<()> {
        self.poll_for(condition, stop)
    }

    /// The same, by asking again and again.
    fn poll_for(&self, condition: &Condition, stop: &Stop) -> Result<()> {
        loop {
            let is_true = match condition {
                Condition::Exists(path) => self.exists(path, stop)?,
                Condition::Listens(port) => self.listens(*port, stop)?,
            };
            if is_true {
                return Ok(());
            }
            stop.sleep(POLL);
            stop.check(|| condition.to_string())?;
        }
    }

    /// Asks systemd for the state of a unit.
    fn unit_state(&self, unit: &str, stop: &Stop) -> Result<UnitState>;

    /// Waits until systemd has a unit active; says whether it is, since one that has failed is not waited for. The
    /// error at the time limit has the unit's last state.
    fn wait_for_unit(&self, unit: &str, stop: &Stop) -> Result<bool> {
        self.poll_for_unit(unit, stop)
    }

    /// The same, by asking again and again.
    fn poll_for_unit(&self, unit: &str, stop: &Stop) -> Result<bool> {
        loop {
            match self.unit_state(unit, stop)? {
                UnitState::Active => return Ok(true),
                UnitState::Failed => return Ok(false),
                UnitState::Other(state) => {
                    stop.sleep(POLL);
                    stop.check(|| format!("unit {unit}")).map_err(|error| error.tail_of(&format!("it is {state}")))?;
                }
            }
        }
    }

    /// Restarts the system and waits until it has booted again.
    fn reboot(&self, stop: &Stop) -> Result<()>;

    /// Asks the system to power off cleanly; does not wait for it.
    fn shutdown(&self, stop: &Stop) -> Result<()>;

    /// Writes what the guest holds in memory to its disks.
    fn sync(&self, stop: &Stop) -> Result<()>;

    /// Prepares a guest for being frozen: writes what it holds in memory to its disks, and sets it up to be woken.
    fn settle(&self, stop: &Stop) -> Result<()> {
        self.sync(stop)
    }

    /// Says why requests do not take the fastest way into the guest, if they do not.
    fn obstacle(&self, _stop: &Stop) -> Result<Option<String>> {
        Ok(None)
    }

    /// Reads the guest's clock, in seconds since the epoch.
    fn time(&self, stop: &Stop) -> Result<f64>;

    /// Tells a guest resumed from a frozen state the time, makes its kernel's random numbers differ from those of any
    /// other guest resumed from that state, and resets its connections if that is asked for. Says why these could not be
    /// reset.
    fn wake(&self, connections: Connections, stop: &Stop) -> Result<Option<String>>;

    /// Describes the guest's operating system: `id`, `name`, `version`, `kernel`, `machine`, ... as it reports them.
    fn info(&self, stop: &Stop) -> Result<BTreeMap<String, String>>;
}
