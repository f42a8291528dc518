//! A line of bytes to a guest by way of the process that attends its channel.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use virt::domain::Domain;

use crate::channel::Port;
use crate::libvirt::guest::socket_line::wait;

const ENDED: &str = "the process that attends its channel has ended";

/// Either end of a connection to an attendant.
pub struct AttendedLine {
    socket: UnixStream,
    /// What may have ended as well when the attendant has; none at the attendant's own end.
    domain: Option<Domain>,
}

impl AttendedLine {
    pub fn new(socket: UnixStream, domain: Option<Domain>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self { socket, domain })
    }
}

impl Port for AttendedLine {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let is_end = |received: &io::Result<usize>| match received {
            Ok(length) => *length == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        };
        match (self.socket.read(buffer), &self.domain) {
            (received, Some(domain)) if is_end(&received) && domain.is_active().unwrap_or(false) => {
                Err(io::Error::other(ENDED))
            }
            (received, _) => received,
        }
    }

    fn wait(&mut self, bell: BorrowedFd<'_>, to_send: bool) {
        wait(self.socket.as_fd(), bell, to_send);
    }

    /// The attendant looks for that.
    fn is_waited_at(&mut self) -> bool {
        true
    }
}
