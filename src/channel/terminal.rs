//! A command on a terminal of the guest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::channel::frame::{self, Kind, MOST, WINDOW};
use crate::channel::requests::{execute, system_error};
use crate::channel::session::Session;
use crate::channel::stream::{Answer, Outlet, Stream};
use crate::error::{Error, Result};
use crate::hypervisor::{Command, Console, Exit};

/// How long to wait for the guest before the terminal is seen to be closed.
const PAUSE: Duration = Duration::from_millis(50);
/// How long to wait for room to type in.
const TYPING_PAUSE: Duration = Duration::from_millis(5);

/// The host's end of a terminal. Closing it hangs up.
pub struct ChannelTerminal {
    /// Kept open.
    _session: Arc<Session>,
    output: Mutex<Output>,
    outlet: Outlet,
    /// How many more bytes may be typed now.
    credit: AtomicUsize,
    is_closed: AtomicBool,
    exit: Mutex<Option<Exit>>,
}

struct Output {
    stream: Stream,
    /// What has come and was not read yet.
    ahead: Vec<u8>,
}

impl ChannelTerminal {
    /// Starts a command on a terminal of this many rows and columns.
    pub fn open(session: &Arc<Session>, command: &Command, rows: u16, columns: u16) -> Self {
        let request = execute(command, true, frame::size(rows.max(1), columns));
        let stream = session.request(Kind::Execute, &request);
        Self {
            _session: Arc::clone(session),
            outlet: stream.outlet().clone(),
            output: Mutex::new(Output { stream, ahead: Vec::new() }),
            credit: AtomicUsize::new(WINDOW),
            is_closed: AtomicBool::default(),
            exit: Mutex::default(),
        }
    }
}

impl Console for ChannelTerminal {
    fn read(&self, buffer: &mut [u8]) -> Result<usize> {
        let mut output = self.output.lock();
        while output.ahead.is_empty() {
            if self.is_closed.load(Ordering::SeqCst) || self.exit.lock().is_some() {
                return Ok(0);
            }
            match output.stream.next(PAUSE) {
                Ok(Some(Answer::Output(bytes) | Answer::Errors(bytes))) => output.ahead = bytes,
                Ok(Some(Answer::More(more))) => drop(self.credit.fetch_add(more, Ordering::SeqCst)),
                Ok(Some(Answer::Exit(status))) => *self.exit.lock() = Some(Exit(status)),
                Ok(Some(Answer::Failed(number))) => {
                    return Err(Error::failed("cannot open a terminal in the guest").cause(system_error(number)));
                }
                Ok(Some(Answer::Begun(_) | Answer::End | Answer::Done | Answer::Accepted(_)) | None) => {}
                // The guest has stopped.
                Err(_) => return Ok(0),
            }
        }
        let length = output.ahead.len().min(buffer.len());
        buffer[..length].copy_from_slice(&output.ahead[..length]);
        output.ahead.drain(..length);
        Ok(length)
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(MOST) {
            while self.credit.load(Ordering::SeqCst) < piece.len() && !self.is_closed.load(Ordering::SeqCst) {
                std::thread::sleep(TYPING_PAUSE);
            }
            self.credit.fetch_sub(piece.len().min(self.credit.load(Ordering::SeqCst)), Ordering::SeqCst);
            self.outlet.feed(piece);
        }
        Ok(())
    }

    fn close(&self) {
        if !self.is_closed.swap(true, Ordering::SeqCst) {
            self.outlet.end();
            self.output.lock().stream.leave();
        }
    }

    fn resize(&self, rows: u16, columns: u16) -> bool {
        self.outlet.resize(rows, columns);
        true
    }

    fn exit(&self) -> Option<Exit> {
        *self.exit.lock()
    }
}

impl Drop for ChannelTerminal {
    fn drop(&mut self) {
        self.close();
    }
}
