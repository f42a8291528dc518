//! Runs the real binary in a directory of its own and compares everything it prints.
//!
//! ```ignore
//! let first = Test::new()
//!     .script("machine('m', { image = image.file('x.qcow2') })")
//!     .args(["run", "script.lua"])
//!     .stderr("...")
//!     .run();
//! let second = first.again().args(["tree", "m"]).stdout("sn01\n").run();
//! assert_eq!(second.executed(), Vec::<String>::new());
//! ```
//!
//! What is not stated is expected to be empty: stdout, stderr, and status 0. In expected text and scripts, a first line
//! that is empty is dropped with the indentation that all lines have in common.

// Which of its methods are called changes with the tests.
#![allow(dead_code)]

mod compare;
mod ran;
pub mod source;
pub mod terminal;
mod text;
pub mod web;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use ran::Ran;
use tempfile::TempDir;
use text::unindent;

/// The smallest raw disks: a sector without anything on it, and one with something else.
pub const DISK: &str = text::sector(&[0; 512]);
pub const OTHER_DISK: &str = text::sector(&[1; 512]);

/// One run of the binary, and what is expected of it.
#[must_use = "a test does nothing until `run`"]
pub struct Test {
    directory: Rc<TempDir>,
    connect: Option<String>,
    args: Vec<OsString>,
    env: BTreeMap<String, OsString>,
    stdin: Vec<u8>,
    limit: Duration,
    shell: Option<String>,
    expected: Expected,
}

struct Expected {
    /// `None` when any will do.
    status: Option<i32>,
    /// The exact text, or `None` when any will do.
    stdout: Option<String>,
    stderr: Option<String>,
    stderr_parts: Vec<String>,
}

impl Test {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("snaptree-test-").tempdir().expect("no temporary directory");
        Self::in_directory(Rc::new(directory), Some("fake:state.json".to_string()), BTreeMap::new())
    }

    fn in_directory(directory: Rc<TempDir>, connect: Option<String>, env: BTreeMap<String, OsString>) -> Self {
        let expected = Expected {
            status: Some(0),
            stdout: Some(String::new()),
            stderr: Some(String::new()),
            stderr_parts: Vec::new(),
        };
        let limit = Duration::from_secs(60);
        Self { directory, connect, args: Vec::new(), env, stdin: Vec::new(), limit, shell: None, expected }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Prepares another run in the same directory.
    pub fn again(&self) -> Self {
        Self::in_directory(self.directory.clone(), self.connect.clone(), self.env.clone())
    }

    /// Writes `script.lua`.
    pub fn script(self, text: &str) -> Self {
        self.file("script.lua", unindent(text))
    }

    /// Writes a file into the test's directory, below directories that need not exist.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("a file has a directory")).expect("cannot make a directory");
        fs::write(&path, content).unwrap_or_else(|error| panic!("cannot write `{}`: {error}", path.display()));
        self
    }

    /// Sets what fake guests answer, for this run and the ones after it: a JSON list as in `src/fake/record/answer.rs`.
    pub fn answers(self, answers: serde_json::Value) -> Self {
        let path = self.path().join("answers.json");
        self.file("answers.json", answers.to_string()).env("SNAPTREE_FAKE_ANSWERS", path)
    }

    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Connects to another hypervisor than `fake:state.json`.
    pub fn connect(mut self, uri: &str) -> Self {
        self.connect = Some(uri.to_string());
        self
    }

    /// Passes no `--connect`.
    pub fn no_connect(mut self) -> Self {
        self.connect = None;
        self
    }

    /// Sets a variable for this run and the ones after it.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.insert(name.to_string(), value.into());
        self
    }

    pub fn stdin(mut self, stdin: impl AsRef<[u8]>) -> Self {
        self.stdin = stdin.as_ref().to_vec();
        self
    }

    /// Runs a line of bash instead, in which `"$@"` is the binary with its arguments.
    pub fn in_shell(mut self, line: &str) -> Self {
        self.shell = Some(line.to_string());
        self
    }

    /// Sets how long the run may take; 60 seconds without it.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    pub fn status(mut self, status: i32) -> Self {
        self.expected.status = Some(status);
        self
    }

    pub fn any_status(mut self) -> Self {
        self.expected.status = None;
        self
    }

    pub fn stdout(mut self, stdout: &str) -> Self {
        self.expected.stdout = Some(unindent(stdout));
        self
    }

    pub fn any_stdout(mut self) -> Self {
        self.expected.stdout = None;
        self
    }

    pub fn stderr(mut self, stderr: &str) -> Self {
        self.expected.stderr = Some(unindent(stderr));
        self
    }

    pub fn any_stderr(mut self) -> Self {
        self.expected.stderr = None;
        self
    }

    /// Expects a part of stderr, where the whole is not ours to fix.
    pub fn stderr_contains(mut self, part: &str) -> Self {
        self.expected.stderr_parts.push(part.to_string());
        self.any_stderr()
    }

    /// Runs the binary and compares what it did with what was expected.
    #[track_caller]
    pub fn run(self) -> Ran {
        self.start().finish()
    }

    /// The binary with its arguments, environment and directory.
    fn command(&self) -> Command {
        let directory = self.path();
        let mut command = Command::new(env!("CARGO_BIN_EXE_snaptree"));
        command.current_dir(directory).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        for (name, place) in [
            ("HOME", "home"),
            ("XDG_CONFIG_HOME", "home/.config"),
            ("XDG_CACHE_HOME", "home/.cache"),
            ("XDG_DATA_HOME", "home/.local/share"),
            ("XDG_STATE_HOME", "home/.local/state"),
            ("XDG_RUNTIME_DIR", "run"),
            ("TMPDIR", "tmp"),
            ("SNAPTREE_STORE", "store"),
            ("SNAPTREE_CACHE", "cache"),
            ("SNAPTREE_EMBED_ROOT", "embed"),
            ("SNAPTREE_STDLIB", "stdlib"),
        ] {
            command.env(name, directory.join(place));
        }
        for place in ["home", "run", "tmp"] {
            fs::create_dir_all(directory.join(place)).expect("cannot make a directory");
        }
        command.envs([("NO_COLOR", "1"), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")]).envs(&self.env);
        if let Some(uri) = &self.connect {
            command.args(["--connect", uri]);
        }
        command.args(&self.args);
        command
    }

    /// Starts the binary, for tests that do something while it runs.
    pub fn start(self) -> Running {
        let mut command = self.command();
        if let Some(line) = &self.shell {
            command = in_shell(line, &command);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());

        let mut child = command.spawn().expect("cannot start the binary");
        let stdin = child.stdin.take().expect("stdin is a pipe");
        let stdout = read_in_background(child.stdout.take().expect("stdout is a pipe"));
        let stderr = read_in_background(child.stderr.take().expect("stderr is a pipe"));
        feed_in_background(stdin, self.stdin.clone());
        Running { deadline: Instant::now() + self.limit, test: self, child: Leash(child), stdout, stderr }
    }
}

/// Has bash run a line in which `"$@"` is the command.
fn in_shell(line: &str, command: &Command) -> Command {
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", line, "bash"]).arg(command.get_program()).args(command.get_args()).env_clear();
    bash.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.get_current_dir().into_iter().for_each(|directory| _ = bash.current_dir(directory));
    bash
}

/// Ends the binary when a test fails while it runs.
struct Leash(Child);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A run that has not ended yet.
pub struct Running {
    test: Test,
    child: Leash,
    deadline: Instant,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
}

impl Running {
    /// Waits until the fake hypervisor's state is as `is_so` wants it.
    #[track_caller]
    pub fn wait_for_state(self, is_so: impl Fn(&serde_json::Value) -> bool) -> Self {
        while !is_so(&ran::state_in(self.test.path())) {
            assert!(Instant::now() < self.deadline, "the state never became what the test waits for");
            std::thread::sleep(Duration::from_millis(10));
        }
        self
    }

    /// Sends a signal, such as `INT`.
    pub fn signal(self, signal: &str) -> Self {
        let killed = Command::new("kill").args(["-s", signal, &self.child.0.id().to_string()]).status();
        assert!(killed.expect("cannot run kill").success(), "cannot send {signal}");
        self
    }

    #[track_caller]
    pub fn finish(mut self) -> Ran {
        let status = loop {
            match self.child.0.try_wait().expect("cannot wait for the binary") {
                Some(status) => break status,
                None if Instant::now() >= self.deadline => {
                    self.child.0.kill().expect("cannot kill the binary");
                    break self.child.0.wait().expect("cannot wait for the binary");
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let stdout = self.stdout.join().expect("cannot read stdout");
        let stderr = self.stderr.join().expect("cannot read stderr");
        let Test { directory, connect, args, env, expected, limit, .. } = self.test;
        let ran = Ran::new(directory, connect, env, status, &stdout, &stderr);
        if let Err(differences) = ran.compare(&expected) {
            let late =
                if Instant::now() >= self.deadline { format!(" (killed after {limit:?})") } else { String::new() };
            panic!("`snaptree {}` did not do what was expected{late}:\n{differences}", words(&args));
        }
        ran
    }
}

fn words(args: &[OsString]) -> String {
    args.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn read_in_background(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).expect("cannot read what the binary prints");
        bytes
    })
}

fn feed_in_background(mut stdin: ChildStdin, bytes: Vec<u8>) {
    // The binary need not read what it is given.
    std::thread::spawn(move || stdin.write_all(&bytes).ok());
}

/// Finds a file of the repository.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
