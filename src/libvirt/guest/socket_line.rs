//! A line of bytes to a guest's port, on QEMU's own socket.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use virt::domain::Domain;

use crate::channel::Port;
use crate::libvirt::guest::monitor;
use crate::libvirt::xml::domain_facts::HostPort;

const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A connection to the socket that QEMU listens on: one stream of libvirt's moves 256 KiB at a time at most, and is only
/// heard of by asking.
pub struct SocketLine {
    socket: UnixStream,
    device: String,
    domain: Domain,
}

impl SocketLine {
    pub fn open(domain: Domain, port: &HostPort) -> io::Result<Self> {
        let socket = UnixStream::connect(&port.socket)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, device: port.device.clone(), domain })
    }
}

impl Port for SocketLine {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buffer)
    }

    fn wait(&mut self, bell: BorrowedFd<'_>, to_send: bool) {
        wait(self.socket.as_fd(), bell, to_send);
    }

    fn is_waited_at(&mut self) -> bool {
        monitor::is_waited_at(&self.domain, &self.device)
    }
}

/// Waits for a socket or a bell, for a second at most.
pub fn wait(socket: BorrowedFd<'_>, bell: BorrowedFd<'_>, to_send: bool) {
    let wanted = if to_send { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
    let mut files = [PollFd::from_borrowed_fd(socket, wanted), PollFd::from_borrowed_fd(bell, PollFlags::IN)];
    let limit = Timespec { tv_sec: LONGEST_WAIT.as_secs().cast_signed(), tv_nsec: 0 };
    // An interrupted wait is a short one.
    let _ = poll(&mut files, Some(&limit));
}
