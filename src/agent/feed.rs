//! The input of a running command, passed to it through a named pipe in the guest.

use std::sync::mpsc::TryRecvError;

use crate::agent::calls::{Calls, SHELL, SMALL_INPUT};
use crate::agent::transport::{Transport, TransportError};
use crate::error::{Error, Result};
use crate::hypervisor::Input;

/// Writes a piece, which waits for the command to read it and ends early if that reads no more. The agent itself must
/// not open the pipe: it would answer nothing else meanwhile.
const GIVE: &str =
    r#"until [ -p "$0.in" ] || [ -e "$0.status" ]; do sleep 0.1; done; [ ! -p "$0.in" ] || exec cat >"$0.in""#;
const END: &str =
    r#"until [ -p "$0.end" ] || [ -e "$0.status" ]; do sleep 0.1; done; [ ! -p "$0.end" ] || : >"$0.end""#;

/// Input for a command that has already started.
pub struct Feed<'i> {
    input: &'i Input,
    /// What has arrived and was not sent yet.
    ahead: Vec<u8>,
    /// The process that writes a piece in the guest.
    giving: Option<i64>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// No more will come.
    Ended,
    /// The command has all of it, or wants no more.
    Done,
}

impl<'i> Feed<'i> {
    /// Takes what has come of an input so far.
    pub fn new(input: &'i Input) -> Result<Self> {
        let mut feed = Self { input, ahead: Vec::new(), giving: None, state: State::Open };
        feed.take(SMALL_INPUT + 1)?;
        Ok(feed)
    }

    /// Returns the whole input, if all of it has arrived and is small enough to be sent with the command.
    pub fn whole(&mut self) -> Option<Vec<u8>> {
        let is_whole = self.state == State::Ended && self.ahead.len() <= SMALL_INPUT;
        is_whole.then(|| std::mem::take(&mut self.ahead))
    }

    /// Takes what has already arrived, up to `enough` bytes or a little more.
    fn take(&mut self, enough: usize) -> Result<()> {
        while self.state == State::Open && self.ahead.len() < enough {
            match self.input.try_recv() {
                Ok(piece) => self.ahead.extend(piece?),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => self.state = State::Ended,
            }
        }
        Ok(())
    }

    /// Sends the next piece once the command has read the previous one; says whether something is under way.
    pub fn advance<T: Transport>(&mut self, calls: &Calls<T>, files: &str) -> Result<bool> {
        let failed =
            |error: &TransportError| Error::failed("cannot hand the input to the command in the guest").cause(error);
        if self.state == State::Done {
            return Ok(false);
        }
        if let Some(pid) = self.giving {
            match calls.exec_status(pid) {
                Ok(status) if !status.exited => return Ok(true),
                Ok(status) if status.exit_code == Some(0) => self.giving = None,
                // The command does not read any more.
                Ok(_) => {
                    self.state = State::Done;
                    return Ok(false);
                }
                Err(TransportError::NotConnected(_)) => return Ok(true),
                // Only the agent knew how much of the piece was read.
                Err(error @ TransportError::Agent { .. }) => {
                    return Err(failed(&error).hint("the guest agent restarted meanwhile; run the command again"));
                }
                Err(error) => return Err(failed(&error)),
            }
        }
        self.take(SMALL_INPUT)?;
        let script = match self.state {
            _ if !self.ahead.is_empty() => GIVE,
            State::Ended => END,
            State::Open | State::Done => return Ok(false),
        };
        let piece = &self.ahead[..self.ahead.len().min(SMALL_INPUT)];
        let arguments = ["-c", script, files].map(str::to_string);
        match calls.exec(SHELL, &arguments, piece) {
            Ok(_) if script == END => self.state = State::Done,
            Ok(pid) => {
                let length = piece.len();
                self.ahead.drain(..length);
                self.giving = Some(pid);
            }
            Err(error) => return Err(failed(&error)),
        }
        Ok(self.state != State::Done)
    }
}
