//! A command running in the guest.

use std::time::{Duration, Instant};

use crate::agent::calls::{Calls, Status};
use crate::agent::file::{self, File};
use crate::agent::transport::{Transport, TransportError};
use crate::error::{Error, Result};
use crate::hypervisor::{Command, CommandLine, Exit, Stream};
use crate::stop::Stop;

const WRAPPER: &str = include_str!("wrapper.sh");
const KILL: &str = include_str!("kill.sh");
const SHELL: &str = "/bin/sh";
/// What the wrapper says first when the command has ended; the beginning of its output follows.
const ENDED: &str = "ended";
/// The most output, in bytes, that is whole in that beginning; the wrapper has the same number.
pub const MOST_INLINE: usize = 500_000;

/// The most input that goes along with the command itself: as much as a pipe holds.
pub const SMALL_INPUT: usize = 64 << 10;
/// How long a command runs before its output is asked for.
const SHORT_RUN: Duration = Duration::from_millis(500);
/// How long a command is left alone before the guest is asked whether it has ended.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(80);
/// The same for a small program of ours.
const SMALL_PAUSE: Duration = Duration::from_millis(30);
/// How long to wait for what was killed.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

type Output<'o> = &'o mut dyn FnMut(Stream, &[u8]);

/// A command that was started in the guest.
pub struct Process<'a, T: Transport> {
    calls: &'a Calls<T>,
    title: String,
    /// What the names of its files begin with.
    files: String,
    pid: i64,
    /// How long the guest took to begin the command, which tells how fast it is.
    beginning: Duration,
    streams: [Tail<'a, T>; 2],
}

/// One of the two output files and how far it was handed over.
struct Tail<'a, T: Transport> {
    stream: Stream,
    path: String,
    file: Option<File<'a, T>>,
    offset: usize,
}

impl<'a, T: Transport> Process<'a, T> {
    /// Starts a command. `id` names its files in the guest.
    pub fn start(calls: &'a Calls<T>, command: &Command, id: &str) -> Result<Self> {
        let title = title(&command.line);
        let refused = |error| file::failure(&format!("cannot run `{title}` in the guest"), &error);
        let files = format!("/run/snaptree-{id}");
        let by_file = command.stdin.len() > SMALL_INPUT;
        let stdin = if by_file {
            let file = format!("{files}.in");
            finish(calls, SHELL, &["-c", r#"umask 077 && : >"$0""#, &file]).map_err(refused)?;
            let input = File::open(calls, &file, "w").map_err(refused)?;
            input.write(&command.stdin).map_err(refused)?;
            input.close().map_err(refused)?;
            &[][..]
        } else {
            &command.stdin
        };
        let args = arguments(command, id, by_file);
        let started = Instant::now();
        // A session of its own, under the process id that the agent knows.
        let pid = match calls.exec("setsid", &args, stdin) {
            // There is no such program.
            Err(TransportError::Agent { .. }) => calls.exec(SHELL, &args[1..], stdin),
            pid => pid,
        };
        let pid = pid.map_err(refused)?;
        let tail = |stream, name| Tail { stream, path: format!("{files}.{name}"), file: None, offset: 0 };
        let streams = [tail(Stream::Stdout, "out"), tail(Stream::Stderr, "err")];
        Ok(Self { calls, title, files, pid, beginning: started.elapsed(), streams })
    }

    /// Waits for the end, handing output over; kills the command when `stop` ends the wait.
    pub fn wait(mut self, output: Output, stop: &Stop) -> Result<Exit> {
        let started = Instant::now();
        // Each question costs an emulated guest as much as a part of the command does.
        let mut pause = (self.beginning / 4).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        stop.sleep((self.beginning + pause).min(2 * LONGEST_PAUSE));
        loop {
            if let Err(error) = stop.check(|| format!("`{}` in the guest", self.title)) {
                self.kill(output);
                return Err(error);
            }
            match self.calls.exec_status(self.pid) {
                Ok(status) if status.exited => return self.finish(&status, output),
                Ok(_) if started.elapsed() >= SHORT_RUN => self.follow(output)?,
                Ok(_) | Err(TransportError::NotConnected(_)) => {}
                Err(error) => return Err(self.lost(&error)),
            }
            stop.sleep(pause);
            pause = (pause * 11 / 10).min(LONGEST_PAUSE);
        }
    }

    /// Hands over what the files have grown by. The wrapper removes them when the command ends, so a file that cannot
    /// be opened only means that its contents come with the exit status.
    fn follow(&mut self, output: Output) -> Result<()> {
        for tail in &mut self.streams {
            match tail.advance(self.calls, output) {
                Ok(()) | Err(TransportError::Agent { .. } | TransportError::NotConnected(_)) => {}
                Err(error) => return Err(self.lost(&error)),
            }
        }
        Ok(())
    }

    fn finish(mut self, status: &Status, output: Output) -> Result<Exit> {
        let beginning = split_header(&status.stdout);
        match beginning {
            Some(stdout) if stdout.len().max(status.stderr.len()) <= MOST_INLINE => {
                for (tail, whole) in self.streams.iter().zip([stdout, &status.stderr]) {
                    if let Some(rest) = whole.get(tail.offset..).filter(|rest| !rest.is_empty()) {
                        output(tail.stream, rest);
                    }
                }
            }
            _ => {
                // Either the output is in the files because there is much of it, or the wrapper came to no good end.
                for tail in &mut self.streams {
                    let result = tail.advance(self.calls, output);
                    if beginning.is_some() {
                        result.map_err(|error| {
                            file::failure(&format!("cannot read the output of `{}`", self.title), &error)
                        })?;
                    }
                }
                if beginning.is_none() && !status.stderr.is_empty() {
                    output(Stream::Stderr, &status.stderr);
                }
                self.remove_files();
            }
        }
        Ok(Exit(status.exit_code.unwrap_or_else(|| 128 + status.signal.unwrap_or_default())))
    }

    /// Ends the command and everything that it started; hands over what it printed until then.
    fn kill(&mut self, output: Output) {
        // Nothing here may hide why it is killed, so errors are passed over.
        let pid = self.pid.to_string();
        let _ = finish(self.calls, SHELL, &["-c", KILL, "sh", &pid]);
        let _ = wait_for(self.calls, self.pid);
        for tail in &mut self.streams {
            let _ = tail.advance(self.calls, output);
        }
        self.remove_files();
    }

    fn remove_files(&mut self) {
        for tail in &mut self.streams {
            tail.file = None;
        }
        // What is left lies in a tmpfs and is small or soon gone; not worth failing a command that ran.
        let _ = finish(self.calls, SHELL, &["-c", r#"rm -f "$0".*"#, &self.files]);
    }

    fn lost(&self, error: &TransportError) -> Error {
        let message = format!("lost `{}` in the guest", self.title);
        match error {
            TransportError::Agent { .. } => file::failure(&message, error)
                .hint("the guest or its agent restarted meanwhile; `guest:reboot()` restarts a guest and waits for it"),
            _ => file::failure(&message, error),
        }
    }
}

impl<'a, T: Transport> Tail<'a, T> {
    fn advance(&mut self, calls: &'a Calls<T>, output: Output) -> Result<(), TransportError> {
        if self.file.is_none() {
            self.file = Some(File::open(calls, &self.path, "r")?);
        }
        while let Some(file) = &self.file {
            let (data, ended) = file.read()?;
            if !data.is_empty() {
                self.offset += data.len();
                output(self.stream, &data);
            }
            if ended {
                break;
            }
        }
        Ok(())
    }
}

/// Runs a small program of ours to its end.
pub fn finish<T: Transport>(calls: &Calls<T>, path: &str, args: &[&str]) -> Result<Status, TransportError> {
    let args: Vec<String> = args.iter().map(|arg| arg.to_string()).collect();
    let pid = calls.exec(path, &args, &[])?;
    wait_for(calls, pid)
}

fn wait_for<T: Transport>(calls: &Calls<T>, pid: i64) -> Result<Status, TransportError> {
    let started = Instant::now();
    loop {
        let status = calls.exec_status(pid)?;
        if status.exited || started.elapsed() > KILL_PATIENCE {
            return Ok(status);
        }
        std::thread::sleep(SMALL_PAUSE);
    }
}

fn arguments(command: &Command, id: &str, stdin_by_file: bool) -> Vec<String> {
    let mut args: Vec<String> = [SHELL, "-c", &wrapper(), "sh", id].map(str::to_string).to_vec();
    args.push(command.cwd.clone().unwrap_or_default());
    args.push(command.user.clone().unwrap_or_default());
    args.push(if stdin_by_file { "file" } else { "" }.to_string());
    args.extend(words(command));
    args
}

/// Returns what is run for a command: a program and its arguments.
pub fn words(command: &Command) -> Vec<String> {
    let mut words = Vec::new();
    if !command.env.is_empty() {
        words.push("env".to_string());
        words.extend(command.env.iter().map(|(key, value)| format!("{key}={value}")));
    }
    match &command.line {
        CommandLine::Shell(line) => words.extend([SHELL, "-c", line].map(str::to_string)),
        CommandLine::Argv(argv) => words.extend(argv.iter().cloned()),
    }
    words
}

/// The wrapper without what is for its readers: the guest takes it letter by letter, and its agent logs it.
fn wrapper() -> String {
    let lines = WRAPPER.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
    lines.fold(String::new(), |text, line| text + line + "\n")
}

/// The command as errors name it: its first line, and not too much of that.
pub fn title(line: &CommandLine) -> String {
    const LONGEST: usize = 60;
    let text = match line {
        CommandLine::Shell(line) => line.trim().to_string(),
        CommandLine::Argv(argv) => argv.join(" "),
    };
    let first = text.lines().next().unwrap_or_default();
    let short: String = first.chars().take(LONGEST).collect();
    if short.len() == text.len() { short } else { format!("{short}...") }
}

/// Returns what the wrapper prints after its own line; nothing where it came to no good end.
fn split_header(stdout: &[u8]) -> Option<&[u8]> {
    stdout.strip_prefix(ENDED.as_bytes())?.strip_prefix(b"\n")
}
