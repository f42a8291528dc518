//! A TCP connection in the guest that the host has the other end of.

use crate::frame::Kind;
use crate::input::Input;
use crate::linux::{EAGAIN, EINTR, Errno, File, Poll, READABLE, WRITABLE};
use crate::outgoing::Outgoing;
use crate::socket::{self, Family};
use crate::stream::{finish, is_ready};

pub struct Connection {
    socket: File,
    /// While it is not made yet: the port, and the address that is tried.
    tried: Option<(u16, Family)>,
    /// Whether the peer may send more.
    is_readable: bool,
    /// Whether the host may.
    is_writable: bool,
}

impl Connection {
    /// Begins a connection to a port of `localhost`.
    pub fn begin(port: u16) -> Result<Self, Errno> {
        let (family, (socket, is_made)) = match socket::connect(Family::V4, port) {
            Ok(begun) => (Family::V4, begun),
            Err(error) => (Family::V6, socket::connect(Family::V6, port).map_err(|_| error)?),
        };
        let tried = (!is_made).then_some((port, family));
        Ok(Self { socket, tried, is_readable: true, is_writable: true })
    }

    pub fn accepted(socket: File) -> Self {
        Self { socket, tried: None, is_readable: true, is_writable: true }
    }

    pub fn is_made(&self) -> bool {
        self.tried.is_none()
    }

    /// Returns the way for what the host sends.
    pub fn input(&self) -> Result<Input, Errno> {
        self.socket.duplicate().map(|file| Input::new(Some(file)))
    }

    /// Lets the peer know that it did not end in order.
    pub fn reset(&self) {
        socket::reset_when_closed(&self.socket);
    }

    /// Returns what it waits for; `has_room` says whether what comes from the peer could be passed on.
    pub fn wait(&self, has_room: bool) -> Option<(&File, i16)> {
        let wanted = match self.tried {
            Some(_) => WRITABLE,
            None if self.is_readable && has_room => READABLE,
            None => return None,
        };
        Some((&self.socket, wanted))
    }

    /// Looks whether it is made, if it was not. Says whether it is now.
    pub fn complete(&mut self, polls: &[Poll]) -> Result<bool, Errno> {
        let Some((port, family)) = self.tried else { return Ok(true) };
        if !polls.iter().any(|poll| poll.file == self.socket.number() && poll.came != 0) {
            return Ok(false);
        }
        match socket::outcome(&self.socket) {
            Ok(()) => self.tried = None,
            Err(error) if family == Family::V6 => return Err(error),
            Err(error) => {
                let (socket, is_made) = socket::connect(Family::V6, port).map_err(|_| error)?;
                self.socket = socket;
                self.tried = (!is_made).then_some((port, Family::V6));
            }
        }
        Ok(self.is_made())
    }

    /// Passes on what can be at once; `sent` is how the peer took what the host had sent. Says whether it is over.
    pub fn advance(
        &mut self,
        stream: u32,
        (input, sent): (&mut Input, Result<(), Errno>),
        credit: &mut usize,
        polls: &[Poll],
        outgoing: &mut Outgoing,
    ) -> bool {
        match sent.and_then(|()| self.pass_on(stream, input, credit, polls, outgoing)) {
            Ok(()) if self.is_readable || self.is_writable => false,
            result => {
                if result.is_err() {
                    self.reset();
                }
                finish(stream, result, outgoing)
            }
        }
    }

    fn pass_on(
        &mut self,
        stream: u32,
        input: &mut Input,
        credit: &mut usize,
        polls: &[Poll],
        outgoing: &mut Outgoing,
    ) -> Result<(), Errno> {
        if self.is_writable && input.is_done() {
            self.is_writable = false;
            socket::end_output(&self.socket)?;
            input.close()?;
        }
        while self.is_readable && is_ready(&self.socket, polls) && *credit > 0 && outgoing.has_room() {
            match outgoing.pass_on(Kind::Output, stream, &self.socket, *credit) {
                Ok(0) => {
                    self.is_readable = false;
                    outgoing.say(Kind::End, stream, &[]);
                }
                Ok(length) => *credit -= length,
                Err(EINTR) => {}
                Err(EAGAIN) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
