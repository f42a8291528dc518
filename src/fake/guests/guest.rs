//! The guest of a fake domain: files in layers, commands from a script.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use crate::error::{Because, Error, Result};
use crate::fake::guests::console::FakeConsole;
use crate::fake::record::answer::{self, Answer};
use crate::fake::record::bytes::Bytes;
use crate::fake::record::file::{FileKind, FileRecord};
use crate::fake::record::forwarded::forwarded;
use crate::fake::record::state::{Executed, Ram, State};
use crate::fake::record::store::Store;
use crate::hypervisor::{
    Command, Connections, Console, Exit, FileMode, Forward, Guest, GuestEntry, Input, OpenForward, PathKind, Signals,
    Stream, UnitState, UnpackOptions, UnpackTarget,
};
use crate::stop::Stop;

/// Every guest's clock is stopped, so that outputs can be compared.
const TIME: f64 = 1_700_000_000.0;

/// How long to wait before input, signals and `stop` are looked at.
const TICK: Duration = Duration::from_millis(20);

pub struct FakeGuest {
    pub(super) domain: String,
    pub(super) store: Arc<Store>,
    pub(super) answers: Arc<[Answer]>,
}

/// What a command is going to do.
#[derive(Default)]
struct Reply {
    status: i32,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    delay: Duration,
}

impl FakeGuest {
    pub fn new(domain: &str, store: Arc<Store>, answers: Arc<[Answer]>) -> Self {
        Self { domain: domain.to_string(), store, answers }
    }

    /// Reads the state on behalf of a call into the guest, which must be running.
    pub(super) fn look<T>(&self, stop: &Stop, what: impl Fn() -> String, look: impl FnOnce(&State) -> T) -> Result<T> {
        stop.check(&what)?;
        self.store.look(|state| {
            state.running(&self.domain).map_err(|error| error_while(&what(), error))?;
            Ok(look(state))
        })
    }

    fn file(&self, path: &str, stop: &Stop, what: impl Fn() -> String) -> Result<Option<FileRecord>> {
        self.look(stop, what, |state| self.find_file(state, path))
    }

    /// Finds a file as this guest sees it: one that was written, or one that the image has.
    fn find_file(&self, state: &State, path: &str) -> Option<FileRecord> {
        let of_image = || answer::find_file(&self.answers, path).or_else(|| answer::find_file(&state.answers, path));
        let record = |content: &str| FileRecord {
            kind: FileKind::File,
            content: Bytes(content.into()),
            mode: None,
            owner: None,
            modified: None,
        };
        match written(state, &self.domain, path) {
            Some(file) => Some(file.clone()).filter(|file| file.kind == FileKind::File),
            None => of_image().map(record),
        }
    }

    fn reply(&self, state: &State, text: &str, command: &Command) -> Reply {
        let nth = state.executed.iter().filter(|executed| executed.command == text).count();
        let found = answer::find(&self.answers, text, nth).or_else(|| answer::find(&state.answers, text, nth));
        if let Some(answer) = found {
            return Reply {
                status: answer.status,
                stdout: answer.stdout.clone().into_bytes(),
                stderr: answer.stderr.clone().into_bytes(),
                delay: Duration::from_millis(answer.delay_ms),
            };
        }
        let file = |path: &str| self.find_file(state, path);
        match answer::plain_words(command).as_deref() {
            Some(["false"]) => Reply { status: 1, ..Reply::default() },
            Some(["test", "-e", path]) => Reply { status: i32::from(file(path).is_none()), ..Reply::default() },
            Some(["cat"]) => Reply { stdout: command.stdin.clone(), ..Reply::default() },
            Some(["cat", path]) => match file(path) {
                Some(file) => Reply { stdout: file.content.0, ..Reply::default() },
                None => {
                    let stderr = format!("cat: {path}: No such file or directory\n").into_bytes();
                    Reply { status: 1, stderr, ..Reply::default() }
                }
            },
            Some(["sleep", seconds]) => {
                match seconds.parse().ok().and_then(|it| Duration::try_from_secs_f64(it).ok()) {
                    Some(delay) => Reply { delay, ..Reply::default() },
                    None => Reply {
                        status: 1,
                        stderr: format!("sleep: invalid time interval '{seconds}'\n").into_bytes(),
                        ..Reply::default()
                    },
                }
            }
            _ => Reply::default(),
        }
    }

    /// Runs a command, which a signal ends as it ends one that does not catch it.
    fn run_until(
        &self,
        command: &Command,
        output: &mut dyn FnMut(Stream, &[u8]),
        stop: &Stop,
        signals: Option<&Signals>,
    ) -> Result<Exit> {
        let text = answer::text_of(command);
        let what = || format!("`{text}`");
        stop.check(what)?;
        let reply = self.store.change(|state| {
            let record = state.running(&self.domain).map_err(|error| error_while(&what(), error))?;
            let disk = record.now().root_disk();
            let executed = Executed {
                domain: self.domain.clone(),
                snapshot: disk.and_then(|disk| state.snapshot_below(&disk)),
                command: text.clone(),
                stdin: Bytes(command.stdin.clone()),
                env: command.env.clone(),
                cwd: command.cwd.clone(),
                user: command.user.clone(),
            };
            state.executed.push(executed);
            Ok(self.reply(state, &text, command))
        })?;
        let started = Instant::now();
        while started.elapsed() < reply.delay && stop.check(what).is_ok() {
            if let Some(signal) = signals.and_then(|signals| signals.try_recv().ok()) {
                return Ok(Exit(128 + signal));
            }
            stop.sleep(TICK.min(reply.delay));
        }
        self.look(stop, what, |_| ())?;
        for (stream, bytes) in [(Stream::Stdout, &reply.stdout), (Stream::Stderr, &reply.stderr)] {
            if !bytes.is_empty() {
                output(stream, bytes);
            }
        }
        Ok(Exit(reply.status))
    }
}

impl Guest for FakeGuest {
    fn wait_until_ready(&self, stop: &Stop) -> Result<()> {
        self.look(stop, || format!("waiting for the guest of `{}`", self.domain), |_| ())
    }

    fn wait_until_booted(&self, _: &Stop) -> Result<()> {
        Ok(())
    }

    fn run(&self, command: &Command, output: &mut dyn FnMut(Stream, &[u8]), stop: &Stop) -> Result<Exit> {
        self.run_until(command, output, stop, None)
    }

    fn run_with_input(
        &self,
        command: &Command,
        input: &Input,
        signals: &Signals,
        output: &mut dyn FnMut(Stream, &[u8]),
        stop: &Stop,
    ) -> Result<Exit> {
        let stdin = if answer::ignores_input(command) { Vec::new() } else { whole(input, command, stop)? };
        self.run_until(&Command { stdin, ..command.clone() }, output, stop, Some(signals))
    }

    fn terminal(
        &self,
        command: &Command,
        _rows: u16,
        _columns: u16,
        stop: &Stop,
    ) -> Result<Result<Box<dyn Console>, String>> {
        self.look(stop, || "a terminal".to_string(), |_| ())?;
        let guest = Self::new(&self.domain, Arc::clone(&self.store), Arc::clone(&self.answers));
        Ok(Ok(Box::new(FakeConsole::terminal(Box::new(guest), command))))
    }

    fn forward(self: Arc<Self>, forward: Forward, stop: &Stop) -> Result<Result<OpenForward, String>> {
        let forward = Forward { host: forwarded(forward), ..forward };
        self.look(stop, || "a forwarded port".to_string(), |_| Ok(OpenForward { forward, held: Box::new(()) }))
    }

    fn forward_back(self: Arc<Self>, forward: Forward, stop: &Stop) -> Result<Result<OpenForward, String>> {
        self.look(stop, || "a forwarded port".to_string(), |_| Ok(OpenForward { forward, held: Box::new(()) }))
    }

    fn read(&self, path: &str, sink: &mut dyn Write, stop: &Stop) -> Result<u64> {
        let what = || format!("reading `{path}` in the guest");
        let failed = || format!("cannot read `{path}` in the guest");
        let Some(file) = self.file(path, stop, what)? else {
            let is_directory = self.kind(path, stop)? == PathKind::Directory;
            let why = if is_directory { "Is a directory" } else { "no such file or directory" };
            return Err(Error::failed(failed()).cause(why));
        };
        let content = file.content.0;
        sink.write_all(&content).because(failed)?;
        Ok(content.len() as u64)
    }

    fn write(&self, path: &str, source: &mut dyn Read, mode: &FileMode, stop: &Stop) -> Result<u64> {
        let what = || format!("writing `{path}` in the guest");
        stop.check(what)?;
        if self.kind(path, stop)? == PathKind::Directory {
            return Err(Error::failed(format!("cannot write `{path}` in the guest")).cause("Is a directory"));
        }
        let mut content = Vec::new();
        source.read_to_end(&mut content).because(|| format!("cannot write `{path}` in the guest"))?;
        let length = content.len() as u64;
        self.store.change(|state| {
            let record = state.running(&self.domain).map_err(|error| error_while(&what(), error))?;
            let disk = record.now().disk_of(path);
            let (kind, content) = (FileKind::File, Bytes(content));
            let file = FileRecord { kind, content, mode: mode.mode, owner: mode.owner.clone(), modified: None };
            if Ram::holds(path) {
                state.record_mut(&self.domain)?.ram.0.insert(path.to_string(), file);
                return Ok(length);
            }
            let disk = disk.ok_or_else(|| Error::failed(format!("domain `{}` has no disk", self.domain)))?;
            state.write_file(&disk, path, file);
            Ok(length)
        })
    }

    fn exists(&self, path: &str, stop: &Stop) -> Result<bool> {
        Ok(self.kind(path, stop)? != PathKind::Missing)
    }

    fn kind_of(&self, path: &str, stop: &Stop) -> Result<PathKind> {
        self.kind(path, stop)
    }

    fn pack(&self, directory: &str, name: &str, archive: &mut dyn Write, stop: &Stop) -> Result<()> {
        self.pack_files(directory, name, archive, stop)
    }

    fn unpack_target(&self, path: &str, owner: Option<&str>, stop: &Stop) -> Result<UnpackTarget> {
        self.target(path, owner, stop)
    }

    fn unpack(&self, archive: &Input, directory: &str, options: &UnpackOptions, stop: &Stop) -> Result<()> {
        self.unpack_files(archive, directory, options, stop)
    }

    fn list(&self, directory: &str, stop: &Stop) -> Result<Vec<GuestEntry>> {
        self.list_files(directory, stop)
    }

    fn remove(&self, directory: &str, paths: &[PathBuf], stop: &Stop) -> Result<()> {
        self.remove_files(directory, paths, stop)
    }

    fn listens(&self, port: u16, stop: &Stop) -> Result<bool> {
        self.look(stop, || format!("looking at port {port} in the guest"), |_| true)
    }

    fn unit_state(&self, unit: &str, stop: &Stop) -> Result<UnitState> {
        self.look(stop, || format!("looking at unit `{unit}` in the guest"), |_| UnitState::Active)
    }

    fn reboot(&self, stop: &Stop) -> Result<()> {
        stop.check(|| "rebooting the guest".to_string())?;
        self.store.change(|state| {
            state.running(&self.domain)?;
            state.record_mut(&self.domain)?.ram = Ram::default();
            Ok(())
        })
    }

    fn shutdown(&self, stop: &Stop) -> Result<()> {
        stop.check(|| "shutting the guest down".to_string())?;
        self.store.change(|state| {
            state.running(&self.domain)?;
            state.stop(&self.domain);
            Ok(())
        })
    }

    fn sync(&self, stop: &Stop) -> Result<()> {
        self.look(stop, || "syncing the guest's disks".to_string(), |_| ())
    }

    fn time(&self, stop: &Stop) -> Result<f64> {
        self.look(stop, || "reading the guest's clock".to_string(), |_| TIME)
    }

    fn wake(&self, connections: Connections, _: &Stop) -> Result<Option<String>> {
        self.store.change(|state| {
            state.running(&self.domain)?;
            if connections == Connections::Reset {
                state.reset.push(self.domain.clone());
            }
            Ok(None)
        })
    }

    fn info(&self, stop: &Stop) -> Result<BTreeMap<String, String>> {
        let facts = [
            ("id", "debian"),
            ("name", "Debian GNU/Linux"),
            ("pretty-name", "Debian GNU/Linux 12 (bookworm)"),
            ("version", "12 (bookworm)"),
            ("version-id", "12"),
            ("kernel-release", "6.1.0-fake-amd64"),
            ("machine", "x86_64"),
        ];
        let info = || facts.map(|(key, value)| (key.to_string(), value.to_string())).into();
        self.look(stop, || "asking the guest for its system".to_string(), |_| info())
    }
}

/// Finds a file that was written in the guest of `domain`, or in one that it grew from.
fn written<'a>(state: &'a State, domain: &str, path: &str) -> Option<&'a FileRecord> {
    let record = state.domains.get(domain)?;
    if Ram::holds(path) {
        return record.ram.0.get(path);
    }
    state.read_file(&record.now().disk_of(path)?, path)
}

/// Waits for the end of a command's input.
fn whole(input: &Input, command: &Command, stop: &Stop) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        stop.check(|| format!("`{}`", answer::text_of(command)))?;
        match input.recv_timeout(TICK) {
            Ok(piece) => bytes.extend(piece?),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(bytes),
        }
    }
}

pub(super) fn error_while(what: &str, error: Error) -> Error {
    Error { message: format!("{what} failed"), ..error }.cause(error.message)
}
