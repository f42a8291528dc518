//! What the host sends to a command or a file.

use alloc::vec::Vec;

use crate::frame::{Kind, WINDOW};
use crate::linux::{EAGAIN, EINTR, Errno, File};
use crate::outgoing::Outgoing;

/// With this much passed on, the host is asked for more.
const ENOUGH: usize = WINDOW / 4;

/// Input on its way into a file.
pub struct Input {
    /// `None` once it is closed.
    file: Option<File>,
    waiting: Vec<u8>,
    written: usize,
    passed_on: usize,
    has_ended: bool,
}

impl Input {
    pub fn new(file: Option<File>) -> Self {
        Self { file, waiting: Vec::new(), written: 0, passed_on: 0, has_ended: false }
    }

    pub fn add(&mut self, bytes: &[u8]) {
        if self.file.is_some() && !self.has_ended {
            self.waiting.extend_from_slice(bytes);
        }
    }

    pub fn end(&mut self) {
        self.has_ended = true;
    }

    /// Returns the file that waits for nothing but room.
    pub fn wants(&self) -> Option<&File> {
        self.file.as_ref().filter(|_| !self.waiting.is_empty())
    }

    /// Says whether everything is written and no more comes.
    pub fn is_done(&self) -> bool {
        self.has_ended && self.waiting.is_empty()
    }

    /// Closes the file.
    pub fn close(&mut self) -> Result<(), Errno> {
        self.waiting = Vec::new();
        self.file.take().map_or(Ok(()), File::close)
    }

    /// Writes as much as the file accepts.
    pub fn pass_on(&mut self, stream: u32, outgoing: &mut Outgoing) -> Result<(), Errno> {
        let Some(file) = &self.file else { return Ok(()) };
        while self.written < self.waiting.len() {
            match file.write(&self.waiting[self.written..]) {
                Ok(length) => {
                    self.written += length;
                    self.passed_on += length;
                }
                Err(EAGAIN | EINTR) => break,
                Err(error) => return Err(error),
            }
        }
        if self.written == self.waiting.len() {
            self.waiting.clear();
            self.written = 0;
        }
        if self.passed_on >= ENOUGH {
            outgoing.say_number(Kind::More, stream, self.passed_on as u32);
            self.passed_on = 0;
        }
        Ok(())
    }
}
