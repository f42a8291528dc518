//! What the guest is asked for.

use std::borrow::Cow;
use std::io::{Read, Write};
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use crate::channel::frame::{HAS_INPUT, Kind, MOST, NO_MODE, WINDOW};
use crate::channel::line::RESTARTED;
use crate::channel::session::Session;
use crate::channel::stream::{Answer, Stream};
use crate::error::{Because, Error, Result};
use crate::hypervisor::{Command, Condition, Connections, Exit, Input, Signals, Stream as Which};
use crate::stop::Stop;
use crate::trace;

/// How long to wait for an answer before `stop` is looked at.
const PAUSE: Duration = Duration::from_millis(20);
/// The same where input may come meanwhile: a little longer each time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// How long to wait for the end of a command that was killed.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Why a request was not answered.
#[derive(Debug)]
pub enum Trouble {
    /// The connection ended before the guest had begun it, so that it can be asked for again.
    NotBegun(String),
    /// It ended under way, so that nothing is known of the outcome.
    Lost(Error),
    Failed(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble::Failed(error)
    }
}

/// How much was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// All of it, so many bytes.
    Whole(u64),
    /// Nothing: the file has so many bytes.
    Long(u64),
}

/// A command's input.
pub enum Source<'i> {
    Whole(&'i [u8]),
    /// As it comes, like the signals for the command.
    Live(&'i Input, &'i Signals),
}

/// What is left of an input, and how much of it the guest takes.
struct Feed<'i> {
    /// What has come.
    ahead: Cow<'i, [u8]>,
    /// How much of that is sent.
    sent: usize,
    /// Where more comes from.
    input: Option<&'i Input>,
    credit: usize,
    is_over: bool,
}

impl<'i> Feed<'i> {
    fn new(source: Source<'i>) -> Self {
        let (ahead, input) = match source {
            Source::Whole(bytes) => (bytes, None),
            Source::Live(input, _) => (&[][..], Some(input)),
        };
        Self { ahead: ahead.into(), sent: 0, input, credit: WINDOW, is_over: false }
    }

    /// Sends what has come and fits. Says whether it waits for more.
    fn advance(&mut self, stream: &Stream) -> Result<bool> {
        while !self.is_over && self.credit > 0 {
            let rest = &self.ahead[self.sent..];
            if rest.is_empty() {
                match self.input.map(Input::try_recv) {
                    Some(Ok(bytes)) => (self.ahead, self.sent) = (bytes?.into(), 0),
                    Some(Err(TryRecvError::Empty)) => return Ok(true),
                    Some(Err(TryRecvError::Disconnected)) | None => {
                        self.is_over = true;
                        stream.outlet().end();
                    }
                }
                continue;
            }
            let piece = &rest[..rest.len().min(self.credit).min(MOST)];
            stream.outlet().feed(piece);
            self.credit -= piece.len();
            self.sent += piece.len();
        }
        Ok(false)
    }
}

/// Says what the end of a connection is to a request.
fn lost(stream: &Stream, why: String, failed: impl FnOnce(String) -> Error) -> Trouble {
    if stream.has_begun() { Trouble::Lost(failed(why)) } else { Trouble::NotBegun(why) }
}

/// What could be done for a guest that resumed.
pub struct Woken {
    /// Whether its clock is set.
    pub has_clock: bool,
    /// Why its connections could not be reset, if that was asked for.
    pub why_not_reset: Option<String>,
}

/// Waits until a request of a waking guest is done; returns the system's number of an error if it failed.
fn done(mut stream: Stream, stop: &Stop) -> Result<std::result::Result<(), i32>> {
    loop {
        stop.check(|| "waiting for the guest".to_string())?;
        match stream.next(PAUSE).map_err(|why| Error::failed("cannot wake the guest").cause(why))? {
            Some(Answer::Done) => return Ok(Ok(())),
            Some(Answer::Failed(number)) => return Ok(Err(number)),
            _ => {}
        }
    }
}

fn why_not_reset_by(number: i32) -> String {
    /// "No such file", of a kernel without the module; "protocol not supported", "operation not supported".
    const LACKING: [i32; 3] = [2, 93, 95];
    match LACKING.contains(&number) {
        true => "its kernel lacks CONFIG_INET_DIAG_DESTROY or the module tcp_diag".to_string(),
        false => system_error(number),
    }
}

impl Session {
    /// Sets the guest's clock, lets its random numbers differ from those of all that resumed from the same state, and
    /// resets its connections if that is asked for.
    pub fn wake(&self, time: Duration, seed: &[u8], connections: Connections, stop: &Stop) -> Result<Woken> {
        let _span = trace::span("wake the guest");
        let reset = (connections == Connections::Reset).then(|| self.request(Kind::Reset, &[]));
        let request = [&time.as_secs().to_le_bytes()[..], &time.subsec_nanos().to_le_bytes(), seed].concat();
        let wake = self.request(Kind::Wake, &request);
        let why_not_reset = reset.map(|reset| done(reset, stop)).transpose()?.and_then(std::result::Result::err);
        Ok(Woken { has_clock: done(wake, stop)?.is_ok(), why_not_reset: why_not_reset.map(why_not_reset_by) })
    }

    /// Runs a command, passing its input and output on as they come; kills it if `stop` ends the wait.
    pub fn run(
        &self,
        command: &Command,
        source: Source<'_>,
        output: &mut dyn FnMut(Which, &[u8]),
        stop: &Stop,
    ) -> Result<Exit, Trouble> {
        let what = format!("`{}` in the guest", command.line.title());
        let _span = trace::span_of("run", || command.line.title());
        let failed = |why: String| Error::failed(format!("cannot run {what}")).cause(why);
        let signals = if let Source::Live(_, signals) = source { Some(signals) } else { None };
        let has_input = !matches!(source, Source::Whole([]));
        let mut stream = self.request(Kind::Execute, &execute(command, has_input, 0));
        let mut feed = Feed::new(source);
        feed.is_over = !has_input;
        let mut pause = SHORTEST_PAUSE;
        loop {
            if let Err(error) = stop.check(|| what.clone()) {
                end(stream, output);
                return Err(error.into());
            }
            // What comes only once is not sent before the guest is known to take it.
            let is_open = (stream.has_begun() || signals.is_none()) && feed.advance(&stream)?;
            if let Some(signals) = signals.filter(|_| stream.has_begun()) {
                signals.try_iter().for_each(|signal| stream.outlet().signal(signal));
            }
            let answer = stream.next(if is_open { pause } else { PAUSE });
            pause = if matches!(answer, Ok(None)) { (pause * 5 / 4).min(PAUSE) } else { SHORTEST_PAUSE };
            match answer {
                Ok(Some(Answer::Output(bytes))) => output(Which::Stdout, &bytes),
                Ok(Some(Answer::Errors(bytes))) => output(Which::Stderr, &bytes),
                Ok(Some(Answer::Exit(status))) => return Ok(Exit(status)),
                Ok(Some(Answer::Failed(number))) => return Err(failed(system_error(number)).into()),
                Ok(Some(Answer::More(more))) => feed.credit += more,
                // The command reads no more.
                Ok(Some(Answer::End)) => feed.is_over = true,
                Ok(Some(Answer::Begun(_) | Answer::Done | Answer::Accepted(_)) | None) => {}
                Err(why) => return Err(lost(&stream, why, |why| lost_command(&what, why))),
            }
        }
    }

    /// Waits until a condition is true; the guest looks for it.
    pub fn wait_for(&self, condition: &Condition, stop: &Stop) -> Result<(), Trouble> {
        let _span = trace::span_of("wait for", || condition.to_string());
        let failed = |why: String| Error::failed(format!("cannot wait for {condition} in the guest")).cause(why);
        let (port, path) = match condition {
            Condition::Listens(port) => (u32::from(*port), ""),
            Condition::Exists(path) => (0, path.as_str()),
        };
        let mut stream = self.request(Kind::Await, &[&port.to_le_bytes()[..], &text(path)].concat());
        loop {
            stop.check(|| condition.to_string())?;
            match stream.next(PAUSE) {
                Ok(Some(Answer::Done)) => return Ok(()),
                Ok(Some(Answer::Failed(number))) => return Err(failed(system_error(number)).into()),
                Ok(_) => {}
                Err(why) => return Err(lost(&stream, why, failed)),
            }
        }
    }

    /// Reads a whole file into `sink`; returns its length.
    pub fn read(&self, path: &str, sink: &mut dyn Write, stop: &Stop) -> Result<u64, Trouble> {
        match self.read_below(path, sink, None, stop)? {
            Reading::Whole(length) | Reading::Long(length) => Ok(length),
        }
    }

    /// Reads a whole file into `sink`, if it has less than `limit` bytes.
    pub fn read_below(
        &self,
        path: &str,
        sink: &mut dyn Write,
        limit: Option<u64>,
        stop: &Stop,
    ) -> Result<Reading, Trouble> {
        let what = format!("reading `{path}` in the guest");
        let failed = |why: String| Error::failed(format!("cannot read `{path}` in the guest")).cause(why);
        let mut stream = self.request(Kind::Read, &text(path));
        let mut length = 0;
        loop {
            stop.check(|| what.clone())?;
            match stream.next(PAUSE) {
                Ok(Some(Answer::Output(bytes))) => {
                    sink.write_all(&bytes)
                        .because(|| format!("cannot keep what was read from `{path}` in the guest"))?;
                    length += bytes.len() as u64;
                }
                // The rest that the guest has sent has no reader.
                Ok(Some(Answer::Begun(size))) if limit.is_some_and(|limit| size >= limit) => {
                    return Ok(Reading::Long(size));
                }
                Ok(Some(Answer::Done)) => return Ok(Reading::Whole(length)),
                Ok(Some(Answer::Failed(number))) => return Err(failed(system_error(number)).into()),
                Ok(_) => {}
                Err(why) => return Err(lost(&stream, why, failed)),
            }
        }
    }

    /// Replaces a file with what `source` yields; returns its length. Without a mode, an existing file keeps its own.
    pub fn write(&self, path: &str, source: &mut dyn Read, mode: Option<u32>, stop: &Stop) -> Result<u64, Trouble> {
        let what = format!("writing `{path}` in the guest");
        let failed = |why: String| Error::failed(format!("cannot write `{path}` in the guest")).cause(why);
        let request = [&mode.unwrap_or(NO_MODE).to_le_bytes()[..], &text(path)].concat();
        let mut stream = self.request(Kind::Write, &request);
        let (mut length, mut credit, mut is_whole) = (0, WINDOW, false);
        let mut piece = Vec::with_capacity(MOST);
        loop {
            stop.check(|| what.clone())?;
            // Nothing is taken from the source before it is known to have a place to go.
            while stream.has_begun() && credit > 0 && !is_whole {
                piece.clear();
                let most = credit.min(MOST) as u64;
                source
                    .take(most)
                    .read_to_end(&mut piece)
                    .because(|| format!("cannot read what is to be in `{path}`"))?;
                if piece.is_empty() {
                    is_whole = true;
                    stream.outlet().end();
                } else {
                    stream.outlet().feed(&piece);
                    (credit, length) = (credit - piece.len(), length + piece.len() as u64);
                }
            }
            match stream.next(PAUSE) {
                Ok(Some(Answer::Done)) => return Ok(length),
                Ok(Some(Answer::Failed(number))) => return Err(failed(system_error(number)).into()),
                Ok(Some(Answer::More(more))) => credit += more,
                Ok(_) => {}
                Err(why) => return Err(lost(&stream, why, failed)),
            }
        }
    }
}

/// Kills a command; passes on what it printed until then.
fn end(mut stream: Stream, output: &mut dyn FnMut(Which, &[u8])) {
    stream.outlet().kill();
    let started = Instant::now();
    while started.elapsed() < KILL_PATIENCE {
        match stream.next(PAUSE) {
            Ok(Some(Answer::Output(bytes))) => output(Which::Stdout, &bytes),
            Ok(Some(Answer::Errors(bytes))) => output(Which::Stderr, &bytes),
            Ok(Some(Answer::Exit(_) | Answer::Failed(_))) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

fn lost_command(what: &str, why: String) -> Error {
    let has_restarted = why == RESTARTED;
    let lost = Error::failed(format!("lost {what}")).cause(why);
    if has_restarted { lost.hint("`guest:reboot()` restarts a guest and waits for it") } else { lost }
}

/// Returns the system's words for an error's number.
pub fn system_error(number: i32) -> String {
    let text = std::io::Error::from_raw_os_error(number).to_string();
    text.split(" (os error").next().unwrap_or_default().to_string()
}

fn text(text: &str) -> Vec<u8> {
    text.bytes().chain([0]).collect()
}

/// Writes a request to execute; `size` is that of its terminal, if it has one.
pub fn execute(command: &Command, has_input: bool, size: u32) -> Vec<u8> {
    let (variables, words): (Vec<String>, Vec<String>) = match &command.user {
        None => {
            let variables = command.env.iter().map(|(name, value)| format!("{name}={value}"));
            (variables.collect(), command.line.words())
        }
        // `su` might set some of the variables that are for the command.
        Some(user) => {
            let before = SU.map(str::to_string).into_iter().chain([user.clone()]);
            (Vec::new(), before.chain(command.words()).collect())
        }
    };
    let flags = if has_input { HAS_INPUT } else { 0 };
    let numbers = [flags, size, variables.len() as u32, words.len() as u32];
    let mut request: Vec<u8> = numbers.into_iter().flat_map(u32::to_le_bytes).collect();
    request.extend(text(command.cwd.as_deref().unwrap_or_default()));
    variables.iter().chain(&words).for_each(|word| request.extend(text(word)));
    request
}

/// What runs the words after it, the first of which is a user.
const SU: [&str; 6] = ["su", "-s", "/bin/sh", "-c", r#"exec "$0" "$@""#, "--"];
