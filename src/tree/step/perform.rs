//! Carries out one operation in a guest.

use std::io::Cursor;
use std::time::Duration;

use crate::error::{Because, Error, Kind, Result};
use crate::hypervisor::{Command, Condition, Exit, Guest, PathKind, Stream};
use crate::stop::Stop;
use crate::tree::archive::exclude::Exclude;
use crate::tree::archive::listing::Listing;
use crate::tree::record::journal::Attempt;
use crate::tree::record::operation::{Bytes, Content, Operation, Outcome, Payload, Quoted, RESULT_LIMIT, Request};
use crate::tree::serial::serial_console::SerialConsole;
use crate::tree::step::directories::{self, Pull};
use crate::tree::step::sync_dir::sync_dir;

/// How often to repeat a command that has to succeed.
const POLL: Duration = Duration::from_millis(250);
/// How long to leave a busy guest alone before running a command again, longer each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// What an operation reports while it is carried out.
pub enum Told<'a> {
    Output(Stream, &'a [u8]),
    /// It will be tried again until it succeeds, because of this output.
    Waits(&'a str),
}

type Tell<'t> = &'t mut dyn FnMut(Told<'_>);

/// The output and the exit status of an operation's last command, even if the operation failed.
#[derive(Default)]
pub struct Heard {
    pub status: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Heard {
    /// Runs a command and collects its output.
    fn run(
        &mut self,
        guest: &dyn Guest,
        command: &Command,
        output: &mut dyn FnMut(Stream, &[u8]),
        stop: &Stop,
    ) -> Result<Exit> {
        *self = Self::default();
        let exit = guest.run(
            command,
            &mut |stream, bytes| {
                output(stream, bytes);
                match stream {
                    Stream::Stdout => self.stdout.extend_from_slice(bytes),
                    Stream::Stderr => self.stderr.extend_from_slice(bytes),
                }
            },
            stop,
        );
        self.status = exit.as_ref().ok().map(|exit| exit.0);
        exit
    }

    /// Returns the first line that contains one of these texts.
    fn says(&self, texts: &[String]) -> Option<String> {
        [&self.stderr, &self.stdout].into_iter().find_map(|stream| {
            let stream = String::from_utf8_lossy(stream);
            let line = stream.lines().find(|line| texts.iter().any(|text| line.contains(text.as_str())));
            line.map(|line| line.trim().to_string())
        })
    }
}

/// Carries out an operation until `stop` ends it. Output is reported as it comes.
pub fn carry_out(
    guest: &dyn Guest,
    console: Option<&SerialConsole>,
    node: &str,
    request: &Request,
    tell: Tell<'_>,
    heard: &mut Heard,
    stop: &Stop,
) -> Result<Outcome> {
    dispatch(guest, console, node, request, tell, heard, stop).map_err(|error| match error.kind {
        Kind::Timeout => {
            let limit = humantime::format_duration(stop.limit());
            let said = Error::new(Kind::Timeout, format!("{} timed out after {limit} in `{node}`", request.operation));
            Error { output: error.output, causes: error.causes, ..said }
                .hint("raise the option `timeout`, such as timeout = \"30m\"")
        }
        _ => error,
    })
}

fn dispatch(
    guest: &dyn Guest,
    console: Option<&SerialConsole>,
    node: &str,
    request: &Request,
    tell: Tell<'_>,
    heard: &mut Heard,
    stop: &Stop,
) -> Result<Outcome> {
    let console = || console.ok_or_else(|| Error::failed(format!("`{node}` has no console")));
    match &request.operation {
        Operation::Run { command, env, cwd, user, .. } => {
            let command = Command {
                stdin: bytes_of(&request.payload).to_vec(),
                env: env.clone(),
                cwd: cwd.clone(),
                user: user.clone(),
                ..Command::new(command.clone())
            };
            run(guest, node, &command, request, tell, heard, stop)
        }
        Operation::Write { path, mode, .. } => {
            match &request.payload {
                Payload::From(host) => {
                    let mut file = std::fs::File::open(host).because(|| format!("cannot read `{}`", host.display()))?;
                    guest.write(path, &mut file, mode, stop)?;
                }
                payload => {
                    guest.write(path, &mut Cursor::new(bytes_of(payload)), mode, stop)?;
                }
            }
            Ok(Outcome::Done)
        }
        Operation::Read { path, exclude, preserve } => match &request.payload {
            Payload::Into(host) => pull(guest, Pull { path, exclude, preserve: *preserve, host }, stop),
            _ => {
                let mut content = Vec::new();
                guest.read(path, &mut content, stop)?;
                Ok(Outcome::Content(Bytes(content)))
            }
        },
        Operation::Push { path, owner, preserve, .. } => {
            directories::push(guest, path, directory_of(&request.payload)?, (owner.as_deref(), *preserve), stop)
        }
        Operation::SyncDir { path, delete, exclude, .. } => {
            let exclude = Exclude::new(exclude)?;
            sync_dir(guest, path, directory_of(&request.payload)?, delete.then_some(&exclude), stop)
        }
        Operation::WaitForUnit { unit } => wait_for_unit(guest, node, unit, heard, stop),
        Operation::WaitForPort { port } => guest.wait_for(&Condition::Listens(*port), stop).map(|()| Outcome::Done),
        Operation::WaitForFile { path } => {
            guest.wait_for(&Condition::Exists(path.clone()), stop).map(|()| Outcome::Done)
        }
        Operation::WaitUntilSucceeds { command } => {
            wait_until_succeeds(guest, &Command::new(command.clone()), heard, stop)
        }
        Operation::Expect { pattern } => console()?.expect(pattern, stop).map(Outcome::Matched),
        Operation::Send { text } => console()?.send(text, stop).map(|()| Outcome::Done),
        Operation::Screen => console()?.screen().map(|text| Outcome::Content(Bytes(text.into_bytes()))),
        Operation::Reboot => guest.reboot(stop).map(|()| Outcome::Done),
        Operation::Sync => guest.sync(stop).map(|()| Outcome::Done),
        Operation::Time => guest.time(stop).map(Outcome::Clock),
        Operation::Info => guest.info(stop).map(Outcome::Facts),
    }
}

fn bytes_of(payload: &Payload) -> &[u8] {
    match payload {
        Payload::Bytes(bytes) => bytes,
        _ => &[],
    }
}

fn run(
    guest: &dyn Guest,
    node: &str,
    command: &Command,
    request: &Request,
    tell: Tell<'_>,
    heard: &mut Heard,
    stop: &Stop,
) -> Result<Outcome> {
    let mut waits: Option<String> = None;
    let mut pause = FIRST_RETRY;
    let exit = loop {
        let mut both = Vec::new();
        let mut output = |stream, bytes: &[u8]| {
            tell(Told::Output(stream, bytes));
            both.extend_from_slice(bytes);
        };
        let exit = heard.run(guest, command, &mut output, stop);
        let explained = |error: Error, waits: &Option<String>| {
            let error = error.tail_of(&String::from_utf8_lossy(&both));
            match waits {
                Some(why) if error.kind == Kind::Timeout => error.cause(why),
                _ => error,
            }
        };
        let exit = exit.map_err(|error| explained(error, &waits))?;
        let Some(why) = heard.says(&request.retry_on).filter(|_| exit.0 != 0) else {
            if request.check && exit.0 != 0 {
                let message = format!("{} failed with exit status {} in `{node}`", Quoted(&command.line), exit.0);
                return Err(Error::failed(message).tail_of(&String::from_utf8_lossy(&both)));
            }
            break exit;
        };
        if waits.as_ref() != Some(&why) {
            tell(Told::Waits(&why));
        }
        waits = Some(why);
        stop.sleep(pause);
        pause = (pause * 3 / 2).min(LAST_RETRY);
        stop.check(|| request.operation.to_string()).map_err(|error| explained(error, &waits))?;
    };
    let [stdout, stderr] = [&mut heard.stdout, &mut heard.stderr].map(|stream| Bytes(std::mem::take(stream)));
    Ok(Outcome::Exit { status: exit.0, stdout, stderr })
}

fn directory_of(payload: &Payload) -> Result<&Listing> {
    match payload {
        Payload::Directory(listing) => Ok(listing),
        _ => Err(Error::bug("a directory to be sent is not known")),
    }
}

/// Copies a file or a directory to the host.
fn pull(guest: &dyn Guest, pull: Pull<'_>, stop: &Stop) -> Result<Outcome> {
    let Pull { path, host, .. } = pull;
    if host.is_dir() || pull.is_of_directory() {
        return match guest.kind_of(path, stop)? {
            PathKind::Directory => pull.carry_out(guest, stop),
            PathKind::Missing => Err(pull.missing()),
            PathKind::File => Err(pull.is_of_file()),
        };
    }
    // The host file is replaced only by a whole one.
    let directory = host.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(".".as_ref());
    let cannot = || format!("cannot write `{}`", host.display());
    directory.metadata().because(cannot)?;
    let mut file = tempfile::NamedTempFile::new_in(directory).because(cannot)?;
    let size = match guest.read(path, &mut file, stop) {
        Ok(size) => size,
        // Files are more common, and are not asked what they are.
        Err(error) if error.kind == Kind::Failed => {
            return match guest.kind_of(path, stop)? {
                PathKind::Directory => pull.carry_out(guest, stop),
                _ => Err(error),
            };
        }
        Err(error) => return Err(error),
    };
    let content = Content::of_file(file.path()).because(cannot)?;
    let outcome = if size as usize <= RESULT_LIMIT {
        Outcome::Content(Bytes(std::fs::read(file.path()).because(cannot)?))
    } else {
        Outcome::Unrecorded { size, digest: Some(content.digest) }
    };
    file.persist(host).because(cannot)?;
    Ok(outcome)
}

fn wait_for_unit(guest: &dyn Guest, node: &str, unit: &str, heard: &mut Heard, stop: &Stop) -> Result<Outcome> {
    if guest.wait_for_unit(unit, stop)? {
        return Ok(Outcome::Done);
    }
    let journalctl = Command::argv(["journalctl", "--no-pager", "-n", "12", "-o", "cat", "-u", unit]);
    let mut log = Vec::new();
    heard.run(guest, &journalctl, &mut |_, bytes| log.extend_from_slice(bytes), stop)?;
    Err(Error::failed(format!("unit `{unit}` failed in `{node}`")).tail_of(&String::from_utf8_lossy(&log)))
}

fn wait_until_succeeds(guest: &dyn Guest, command: &Command, heard: &mut Heard, stop: &Stop) -> Result<Outcome> {
    loop {
        let mut said = Vec::new();
        let exit = heard.run(guest, command, &mut |_, bytes| said.extend_from_slice(bytes), stop);
        let tail = String::from_utf8_lossy(&said).into_owned();
        if exit.map_err(|error| error.tail_of(&tail))?.0 == 0 {
            return Ok(Outcome::Done);
        }
        stop.sleep(POLL);
        stop.check(|| "waiting".to_string()).map_err(|error| error.tail_of(&tail))?;
    }
}

/// Keeps the end of the output, as much as a journal keeps of a result.
pub fn attempt(operation: Operation, took: Duration, heard: Heard) -> Attempt {
    let end = |mut stream: Vec<u8>| Bytes(stream.split_off(stream.len().saturating_sub(RESULT_LIMIT / 2)));
    let (stdout, stderr) = (end(heard.stdout), end(heard.stderr));
    Attempt { operation, took: took.as_millis() as u64, status: heard.status, stdout, stderr }
}
