//! The line to a guest: the thread that moves its bytes.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::channel::frame::{self, Frame, GUESTS, Kind, LOST, STOPPED, take_number};
use crate::channel::hello::HUNG_UP;
use crate::channel::port::Port;
use crate::channel::stream::{Answer, Shared};

/// After this long without a word, QEMU is asked whether the program is still there.
const SILENCE: Duration = Duration::from_millis(500);
/// What is received before anything else is done.
const PIECE: usize = 64 << 10;

pub const RESTARTED: &str = "the guest restarted meanwhile, or our program in it was killed";
const MISUNDERSTOOD: &str = "the program in the guest cannot understand what it was sent";
const GARBLED: &str = "cannot understand what the guest's end of the line sends";

/// What moves the bytes of a session, in a thread of its own.
pub struct Line {
    port: Box<dyn Port>,
    shared: Arc<Shared>,
    to_send: Vec<u8>,
    sent: usize,
    /// What has just arrived.
    piece: Vec<u8>,
    /// What has arrived of the next frames.
    incoming: Vec<u8>,
}

impl Line {
    /// Takes over a line on which `incoming` has arrived.
    pub fn new(port: Box<dyn Port>, shared: Arc<Shared>, incoming: Vec<u8>) -> Self {
        Self { port, shared, to_send: Vec::new(), sent: 0, piece: vec![0; PIECE], incoming }
    }

    /// Moves bytes until the connection ends.
    pub fn serve(mut self) {
        let (mut heard, mut asked) = (Instant::now(), Instant::now());
        loop {
            let is_waiting = self.shared.take_outgoing(&mut self.to_send);
            if self.shared.over().is_some() {
                return;
            }
            match self.exchange() {
                Ok(false) => {}
                Ok(true) => heard = Instant::now(),
                Err(error) => return self.shared.end(&why(&error)),
            }
            if !is_waiting {
                heard = Instant::now();
            } else if heard.elapsed() > SILENCE && asked.elapsed() > SILENCE {
                asked = Instant::now();
                if !self.port.is_waited_at() {
                    return self.shared.end(RESTARTED);
                }
            }
            let is_sent = self.to_send.is_empty() && !self.shared.has_outgoing();
            self.port.wait(self.shared.bell().as_fd(), !is_sent);
            self.shared.quieten();
        }
    }

    /// Sends and receives. Says whether anything was heard.
    fn exchange(&mut self) -> io::Result<bool> {
        let sent = self.send();
        let mut has_heard = self.receive()?;
        if let Err(error) = sent {
            // What came before the line was cut counts.
            while has_heard {
                has_heard = self.receive()?;
            }
            return Err(error);
        }
        Ok(has_heard)
    }

    fn send(&mut self) -> io::Result<()> {
        while self.sent < self.to_send.len() {
            match self.port.send(&self.to_send[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.to_send.clear();
        self.sent = 0;
        Ok(())
    }

    /// Takes what has arrived. Says whether that was anything.
    fn receive(&mut self) -> io::Result<bool> {
        match self.port.receive(&mut self.piece) {
            Ok(0) => return Err(io::Error::other(HUNG_UP)),
            Ok(length) => self.incoming.extend(&self.piece[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        let garbled = || io::Error::other(GARBLED);
        let mut done = 0;
        while let (Some(frame), length) = frame::parse(&self.incoming[done..]).map_err(|_| garbled())? {
            let answer = answer(frame).ok_or_else(garbled)?;
            if frame.stream == 0 && frame.kind == Kind::Failed {
                return Err(io::Error::other(match take_number(&mut &*frame.content) {
                    Some(LOST) => RESTARTED,
                    Some(STOPPED) => HUNG_UP,
                    _ => MISUNDERSTOOD,
                }));
            }
            if let Some(answer) = answer {
                self.shared.deliver(frame, answer);
            }
            done += length;
        }
        self.incoming.drain(..done);
        Ok(true)
    }
}

/// Says what ended a line.
fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => HUNG_UP.to_string(),
        _ => error.to_string(),
    }
}

/// Returns what a frame says; `Some(None)` for a second greeting, and `None` if the guest would not send it.
pub fn answer(frame: Frame<'_>) -> Option<Option<Answer>> {
    let number = || take_number(&mut &*frame.content);
    Some(Some(match frame.kind {
        Kind::Greeting => return Some(None),
        Kind::Begun => Answer::Begun(frame.content.try_into().map_or(0, u64::from_le_bytes)),
        Kind::Output => Answer::Output(frame.content.to_vec()),
        Kind::Errors => Answer::Errors(frame.content.to_vec()),
        Kind::End => Answer::End,
        Kind::More => Answer::More(number()? as usize),
        Kind::Accepted => Answer::Accepted(number().filter(|number| number & GUESTS != 0)?),
        Kind::Exit => Answer::Exit(number()? as i32),
        Kind::Done => Answer::Done,
        Kind::Failed => Answer::Failed(number()? as i32),
        _ => return None,
    }))
}
