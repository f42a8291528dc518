//! A command running in the guest.

use std::time::{Duration, Instant};

use crate::agent::calls::{Calls, SHELL, SMALL_INPUT, Status};
use crate::agent::feed::Feed;
use crate::agent::file::{self, File};
use crate::agent::program::{finish, wait_for};
use crate::agent::transport::{Transport, TransportError};
use crate::agent::wrapper::{MOST_INLINE, Names, arguments, files, split_header};
use crate::error::{Error, Kind, Result};
use crate::hypervisor::{Command, Exit, FileMode, Stream};
use crate::stop::Stop;

const LOOK: &str = include_str!("look.sh");
const KILL: &str = include_str!("kill.sh");
/// How long a command runs before its output is asked for.
const SHORT_RUN: Duration = Duration::from_millis(500);
/// How long a command is left alone before the guest is asked whether it has ended.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(80);
/// The same when only its files can tell.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

type Output<'o> = &'o mut dyn FnMut(Stream, &[u8]);

/// A command that was started in the guest.
pub struct Process<'a, T: Transport> {
    calls: &'a Calls<T>,
    title: String,
    id: String,
    pid: i64,
    /// Whether the agent knows it; only the agent that started it does.
    is_known: bool,
    /// What the agent says about a wrapper that ended badly.
    broken: Option<Status>,
    /// Why the agent did not answer last time.
    away: Option<String>,
    /// How long the guest took to start the command, which shows how fast it is.
    beginning: Duration,
    streams: [Tail<'a, T>; 2],
    feed: Option<Feed<'a>>,
}

/// One of the two output files, and how much of it was passed on.
struct Tail<'a, T: Transport> {
    stream: Stream,
    path: String,
    file: Option<File<'a, T>>,
    offset: u64,
}

/// What a command's files tell.
enum Found {
    Ended(i32),
    /// It is running, under this process id.
    Runs(i64),
    /// It was killed.
    Killed,
    Nothing,
}

/// How a command ended.
struct End {
    status: i32,
    /// Both streams; `None` if they are in the files.
    output: Option<[Vec<u8>; 2]>,
}

impl<'a, T: Transport> Process<'a, T> {
    /// Starts a command that reads `feed`, or `command.stdin` without one.
    pub fn start(
        calls: &'a Calls<T>,
        command: &Command,
        names: &Names<'_>,
        feed: Option<Feed<'a>>,
        stop: &Stop,
    ) -> Result<Self> {
        let title = command.line.title();
        let refused = |error| file::failure(&format!("cannot run `{title}` in the guest"), &error);
        let files = files(names.id);
        let (stdin, way) = match &feed {
            Some(_) => (&[][..], "pipe"),
            None if command.stdin.len() <= SMALL_INPUT => (&command.stdin[..], ""),
            None => {
                let file = format!("{files}.in");
                let make = || finish(calls, SHELL, &["-c", r#"umask 077 && : >"$0""#, &file]);
                calls.when_there(stop, &format!("`{title}` in the guest"), make)?.map_err(refused)?;
                let mode = FileMode { mode: Some(0o600), owner: None };
                file::write(calls, &file, &mut &command.stdin[..], &mode, stop, &mut |_| Ok(()))?;
                (&[][..], "file")
            }
        };
        let args = arguments(command, names, way);
        let tail = |stream, name| Tail { stream, path: format!("{files}.{name}"), file: None, offset: 0 };
        let mut process = Self {
            calls,
            id: names.id.to_string(),
            pid: 0,
            is_known: false,
            broken: None,
            away: None,
            beginning: Duration::ZERO,
            streams: [tail(Stream::Stdout, "out"), tail(Stream::Stderr, "err")],
            feed,
            title: title.clone(),
        };
        loop {
            let started = Instant::now();
            // A session of its own, under the process id that the agent knows.
            let pid = match calls.exec("setsid", &args, stdin) {
                // There is no such program.
                Err(TransportError::Agent { .. }) => calls.exec(SHELL, &args[1..], stdin),
                pid => pid,
            };
            match pid {
                Ok(pid) => {
                    process = Self { pid, is_known: true, beginning: started.elapsed(), ..process };
                    return Ok(process);
                }
                // Then it is unknown whether it has started. If it has, it does not start twice.
                Err(TransportError::NotConnected(_)) if calls.has_answered() => {
                    calls.wait_for_agent(stop, &process.what())?;
                    if process.has_begun() {
                        return Ok(process);
                    }
                }
                Err(error) => return Err(refused(error)),
            }
        }
    }

    /// Waits for the end, passing input and output on; kills the command if `stop` ends the wait.
    pub fn wait(mut self, output: Output, stop: &Stop) -> Result<Exit> {
        let started = Instant::now();
        // Each question costs an emulated guest as much as a part of the command does.
        let mut pause = (self.beginning / 4).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        if self.feed.is_none() {
            stop.sleep((self.beginning + pause).min(2 * LONGEST_PAUSE));
        }
        loop {
            if let Err(error) = stop.check(|| self.what()) {
                let why = self.away.take();
                self.kill(output);
                return Err(match why {
                    Some(why) if error.kind == Kind::Timeout => error.cause(why),
                    _ => error,
                });
            }
            if let Some(end) = self.ask()? {
                return self.finish(end, output);
            }
            if started.elapsed() >= SHORT_RUN {
                self.follow(output)?;
            }
            if let Some(feed) = &mut self.feed
                && feed.advance(self.calls, &files(&self.id))?
            {
                pause = SHORTEST_PAUSE;
            }
            stop.sleep(if self.is_known { pause } else { LOOK_PAUSE });
            pause = (pause * 11 / 10).min(LONGEST_PAUSE);
        }
    }

    fn what(&self) -> String {
        format!("`{}` in the guest", self.title)
    }

    /// Asks how the command ended, if it has.
    fn ask(&mut self) -> Result<Option<End>> {
        if !self.is_known {
            return self.look();
        }
        match self.calls.exec_status(self.pid) {
            Ok(status) if status.exited => self.told(status),
            Ok(_) => {
                self.away = None;
                Ok(None)
            }
            Err(TransportError::NotConnected(why)) => {
                self.away = Some(why);
                Ok(None)
            }
            Err(error @ TransportError::Gone(_)) => Err(self.lost(&error)),
            // Another agent, or one whose answers make no sense. The command's own files tell.
            Err(_) => {
                self.is_known = false;
                self.look()
            }
        }
    }

    /// Takes in what the agent says about the end.
    fn told(&mut self, mut status: Status) -> Result<Option<End>> {
        let Some(stdout) = split_header(&status.stdout, &self.id) else {
            // The wrapper was killed, or it is the second one for this command.
            self.is_known = false;
            self.broken = Some(status);
            return self.look();
        };
        let is_whole = !status.is_cut && stdout.len().max(status.stderr.len()) <= MOST_INLINE;
        let output = is_whole.then(|| [stdout.to_vec(), std::mem::take(&mut status.stderr)]);
        Ok(Some(End { status: code(&status), output }))
    }

    /// Looks for what the command left in the guest.
    fn look(&mut self) -> Result<Option<End>> {
        let found = match self.found() {
            // That question may have been lost with its agent as well.
            Err(error @ (TransportError::NotConnected(_) | TransportError::Agent { .. })) => {
                self.away = Some(error.to_string());
                return Ok(None);
            }
            Err(error) => return Err(self.lost(&error)),
            Ok(found) => found,
        };
        let lost = || Error::failed(format!("lost {}", self.what()));
        match (found, &self.broken) {
            (Found::Ended(status), _) => Ok(Some(End { status, output: None })),
            (Found::Runs(pid), _) => {
                (self.pid, self.away) = (pid, None);
                Ok(None)
            }
            (Found::Killed | Found::Nothing, Some(status)) => Ok(Some(End { status: code(status), output: None })),
            (Found::Killed, None) => {
                Err(lost().cause("the guest agent restarted, and the command was killed before it had ended"))
            }
            (Found::Nothing, None) => Err(lost()
                .cause("the guest restarted meanwhile")
                .hint("`guest:reboot()` restarts a guest and waits for it")),
        }
    }

    fn found(&self) -> Result<Found, TransportError> {
        let (one, other) = self.id.split_at(self.id.len() / 2);
        let status = finish(self.calls, SHELL, &["-c", LOOK, "sh", one, other])?;
        let said = String::from_utf8_lossy(&status.stdout);
        match (said.trim(), said.trim().split_once(' ').map(|(word, number)| (word, number.parse()))) {
            ("killed", _) => Ok(Found::Killed),
            ("nothing", _) => Ok(Found::Nothing),
            (_, Some(("ended", Ok(status)))) => Ok(Found::Ended(status)),
            (_, Some(("runs", Ok(pid)))) => Ok(Found::Runs(i64::from(pid))),
            (other, _) => Err(TransportError::Other(format!("its files cannot be read: `{other}`"))),
        }
    }

    /// Says whether a command has started whose start was not answered. If that cannot be seen, it may be started
    /// again: the wrapper ends the second one at once.
    fn has_begun(&mut self) -> bool {
        match self.found() {
            Ok(Found::Nothing) | Err(_) => false,
            Ok(Found::Runs(pid)) => {
                self.pid = pid;
                true
            }
            Ok(Found::Ended(_) | Found::Killed) => true,
        }
    }

    /// Passes on what the files have grown by. If a file cannot be opened, its contents simply come with the exit
    /// status.
    fn follow(&mut self, output: Output) -> Result<()> {
        for tail in &mut self.streams {
            match tail.advance(self.calls, output) {
                Ok(()) => {}
                Err(error @ TransportError::Gone(_)) => return Err(self.lost(&error)),
                // It is reopened next time, perhaps by another agent.
                Err(_) => tail.let_go(),
            }
        }
        Ok(())
    }

    fn finish(mut self, end: End, output: Output) -> Result<Exit> {
        if let Some(whole) = &end.output {
            for (tail, whole) in self.streams.iter().zip(whole) {
                let rest = usize::try_from(tail.offset).ok().and_then(|offset| whole.get(offset..));
                if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
                    output(tail.stream, rest);
                }
            }
            return Ok(Exit(end.status));
        }
        // Either the output is in the files because it is long, or the agent could not tell.
        for tail in &mut self.streams {
            let mut result = tail.advance(self.calls, output);
            if result.is_err() {
                tail.let_go();
                result = tail.advance(self.calls, output);
            }
            if self.broken.is_none() {
                result
                    .map_err(|error| file::failure(&format!("cannot read the output of `{}`", self.title), &error))?;
            }
        }
        if let Some(broken) = self.broken.take().filter(|broken| !broken.stderr.is_empty()) {
            output(Stream::Stderr, &broken.stderr);
        }
        self.remove_files();
        Ok(Exit(end.status))
    }

    /// Ends the command and everything that it started; passes on what it printed until then.
    fn kill(&mut self, output: Output) {
        // Errors are ignored: nothing here may hide why it is killed.
        let (one, other) = self.id.split_at(self.id.len() / 2);
        let pid = self.pid.to_string();
        if self.pid > 0 {
            let _ = finish(self.calls, SHELL, &["-c", KILL, "sh", one, other, &pid]);
        }
        if self.is_known {
            let _ = wait_for(self.calls, self.pid);
        }
        for tail in &mut self.streams {
            let _ = tail.advance(self.calls, output);
        }
        self.remove_files();
    }

    fn remove_files(&mut self) {
        for tail in &mut self.streams {
            tail.file = None;
        }
        // What is left is in a tmpfs and is small or soon gone; not worth failing a command that ran.
        let _ = finish(self.calls, SHELL, &["-c", r#"rm -f "$0".*"#, &files(&self.id)]);
    }

    fn lost(&self, error: &TransportError) -> Error {
        file::failure(&format!("lost {}", self.what()), error)
    }
}

fn code(status: &Status) -> i32 {
    status.exit_code.unwrap_or_else(|| 128 + status.signal.unwrap_or_default())
}

impl<'a, T: Transport> Tail<'a, T> {
    fn advance(&mut self, calls: &'a Calls<T>, output: Output) -> Result<(), TransportError> {
        if self.file.is_none() {
            let file = File::open(calls, &self.path, "r")?;
            if self.offset > 0 {
                file.go_to(self.offset)?;
            }
            self.file = Some(file);
        }
        while let Some(file) = &self.file {
            let (data, ended) = file.read()?;
            if !data.is_empty() {
                self.offset += data.len() as u64;
                output(self.stream, &data);
            }
            if ended {
                break;
            }
        }
        Ok(())
    }

    /// Drops the file, which the agent may have closed already.
    fn let_go(&mut self) {
        if let Some(file) = self.file.take() {
            file.forget();
        }
    }
}
