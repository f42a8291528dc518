//! The guest behind an agent.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Duration;

use crate::agent::calls::Calls;
use crate::agent::feed::Feed;
use crate::agent::process::Process;
use crate::agent::transport::{Transport, TransportError};
use crate::agent::way::{self, Way};
use crate::agent::wrapper::{Names, files};
use crate::agent::{file, guest_program};
use crate::channel::{Session, Trouble};
use crate::error::{Error, Kind, Result};
use crate::hypervisor::{Command, Exit, Guest, Stream};
use crate::stop::Stop;

const FIRST_POLL: Duration = Duration::from_millis(10);
const LAST_POLL: Duration = Duration::from_millis(100);
pub const PING: Duration = Duration::from_secs(1);

/// A guest operated through its QEMU guest agent.
pub struct Agent<T: Transport> {
    pub calls: Calls<T>,
    pub domain: String,
    pub way: Mutex<Way>,
    /// The commands whose results were received but whose files are still in the guest: the next command removes them.
    seen: Mutex<Vec<String>>,
}

impl<T: Transport> Agent<T> {
    /// Makes the guest of `domain`; sends nothing yet.
    pub fn new(transport: T, domain: &str) -> Self {
        Self { calls: Calls::new(transport), domain: domain.to_string(), way: Mutex::default(), seen: Mutex::default() }
    }

    pub fn seen(&self) -> MutexGuard<'_, Vec<String>> {
        self.seen.lock()
    }

    /// Waits until the agent answers.
    pub fn find(&self, stop: &Stop) -> Result<()> {
        self.poll("the guest agent", stop, || self.calls.ping(PING).map(Some)).map_err(|error| match error.kind {
            Kind::Timeout => error.hint("is `qemu-guest-agent` installed and running in the guest?"),
            _ => error,
        })
    }

    /// Opens the channel, unless that was tried before; `None` where the agent does everything.
    pub fn session(&self, stop: &Stop) -> Result<Option<Arc<Session>>> {
        let mut way = self.way.lock();
        if way.session().is_none() && !matches!(&*way, Way::Agent(_)) {
            *way = Way::Unknown;
            *way = way::open(&self.calls.transport, |replaces| match guest_program::install(replaces) {
                Some(install) => {
                    if !self.calls.has_answered() {
                        self.find(stop)?;
                    }
                    self.by_agent(&install, stop)
                }
                None => Ok((Exit(1), "there is no program for it".to_string())),
            })?;
        }
        Ok(way.session())
    }

    /// Says whether the channel is open.
    pub fn has_session(&self) -> bool {
        self.way.lock().session().is_some()
    }

    /// Says why the agent does everything, if that is known.
    pub fn why_not(&self) -> Option<String> {
        match &*self.way.lock() {
            Way::Agent(why) => Some(why.clone()),
            Way::Unknown | Way::Channel(_) => None,
        }
    }

    /// Asks through the channel; asks again if that was lost before the guest had begun. `None` where there is none.
    pub fn by_channel<R>(&self, stop: &Stop, mut ask: impl FnMut(&Session) -> Result<R, Trouble>) -> Result<Option<R>> {
        while let Some(session) = self.session(stop)? {
            match ask(&session) {
                Ok(result) => return Ok(Some(result)),
                Err(Trouble::Failed(error) | Trouble::Lost(error)) => return Err(error),
                Err(Trouble::NotBegun(why)) => {
                    let checked = stop.check(|| format!("reaching the guest of `{}`", self.domain));
                    checked.map_err(|error| error.cause(why))?;
                }
            }
        }
        Ok(None)
    }

    /// The same for what changes nothing in the guest: it is asked again also when it was under way, as across a restart.
    pub fn wait_by_channel<R>(
        &self,
        stop: &Stop,
        mut ask: impl FnMut(&Session) -> Result<R, Trouble>,
    ) -> Result<Option<R>> {
        self.by_channel(stop, |session| {
            ask(session).map_err(|trouble| match trouble {
                Trouble::Lost(error) => Trouble::NotBegun(error.to_string()),
                trouble => trouble,
            })
        })
    }

    /// Runs a command through the agent, and returns its status and its output.
    pub fn by_agent(&self, command: &Command, stop: &Stop) -> Result<(Exit, String)> {
        let mut output = Vec::new();
        let exit = self.execute(command, None, false, &mut |_, bytes| output.extend_from_slice(bytes), stop)?;
        Ok((exit, String::from_utf8_lossy(&output).into_owned()))
    }

    /// Runs a command through the agent. Its files stay in the guest until the next command, so that its result is not
    /// lost if the agent restarts before it was asked for; without `trace` they are removed at the end, with those of all
    /// commands before it.
    pub fn execute(
        &self,
        command: &Command,
        feed: Option<Feed<'_>>,
        trace: bool,
        output: &mut dyn FnMut(Stream, &[u8]),
        stop: &Stop,
    ) -> Result<Exit> {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let mut seen = self.seen().clone();
        seen.extend((!trace).then(|| id.clone()));
        let process = Process::start(&self.calls, command, &Names { id: &id, seen: &seen }, feed, stop)?;
        let exit = process.wait(output, stop)?;
        self.seen().retain(|id| !seen.contains(id));
        self.seen().extend(trace.then_some(id));
        Ok(exit)
    }

    /// Runs one of our own commands and returns its status, standard output and standard error.
    pub fn ask<const N: usize>(&self, argv: [&str; N], stop: &Stop) -> Result<(Exit, String, String)> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut keep = |stream, data: &[u8]| match stream {
            Stream::Stdout => stdout.extend_from_slice(data),
            Stream::Stderr => stderr.extend_from_slice(data),
        };
        let exit = self.run(&Command::argv(argv), &mut keep, stop)?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_string();
        Ok((exit, text(stdout), text(stderr)))
    }

    /// Runs one of our own commands that has to succeed.
    pub fn must<const N: usize>(&self, argv: [&str; N], failed: &str, stop: &Stop) -> Result<()> {
        match self.ask(argv, stop)? {
            (Exit(0), ..) => Ok(()),
            (Exit(status), _, stderr) if stderr.is_empty() => {
                Err(Error::failed(failed).cause(format!("`{}` ended with status {status}", argv[0])))
            }
            (_, _, stderr) => Err(Error::failed(failed).cause(stderr)),
        }
    }

    /// Repeats `attempt` until it yields something; waits for a guest that is merely not there yet.
    pub fn poll<R>(
        &self,
        what: &str,
        stop: &Stop,
        mut attempt: impl FnMut() -> Result<Option<R>, TransportError>,
    ) -> Result<R> {
        let mut pause = FIRST_POLL;
        loop {
            stop.check(|| format!("waiting for {what} of `{}`", self.domain))?;
            match attempt() {
                Ok(Some(result)) => return Ok(result),
                Ok(None) | Err(TransportError::NotConnected(_) | TransportError::Agent { .. }) => {}
                Err(TransportError::Gone(cause)) => {
                    return Err(Error::failed(format!("the domain `{}` stopped", self.domain))
                        .cause(cause)
                        .hint("the guest powered off, or QEMU ended; libvirt's log of the domain tells more"));
                }
                Err(error) => {
                    return Err(file::failure(&format!("cannot reach {what} of `{}`", self.domain), &error));
                }
            }
            stop.sleep(pause);
            pause = (pause * 3 / 2).min(LAST_POLL);
        }
    }
}

impl<T: Transport> Drop for Agent<T> {
    fn drop(&mut self) {
        let seen = std::mem::take(&mut *self.seen());
        if !seen.is_empty() {
            let files: Vec<String> = seen.iter().map(|id| files(id)).collect();
            // A guest that goes away takes them with it.
            let _ = self.calls.remove(&files, PING);
        }
    }
}
