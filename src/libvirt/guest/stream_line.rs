//! A line of bytes to a guest's port, on one of libvirt's streams: for users who may not open QEMU's own socket.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use virt::domain::Domain;
use virt::error::Error as VirtError;

use crate::channel::Port;
use crate::libvirt::guest::line::{Line, Moved};
use crate::libvirt::guest::monitor;

/// How long to wait when nothing moves: a little longer each time, since such a stream can only be asked.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

pub struct StreamLine {
    line: Line,
    device: String,
    domain: Domain,
    pause: Duration,
}

impl StreamLine {
    pub fn open(uri: &str, name: &str, port: &str, device: &str, domain: Domain) -> Result<Self, VirtError> {
        let line = Line::open(uri, name, |domain, stream| domain.open_channel(Some(port), stream, 0))?;
        Ok(Self { line, device: device.to_string(), domain, pause: SHORTEST_PAUSE })
    }

    /// Returns how much was moved; `ended` is what stands for the end.
    fn moved(&mut self, moved: Result<Moved, VirtError>, ended: io::Result<usize>) -> io::Result<usize> {
        match moved.map_err(|error| io::Error::other(error.message().to_string()))? {
            Moved::Bytes(length) => {
                self.pause = SHORTEST_PAUSE;
                Ok(length)
            }
            Moved::NothingYet => Err(io::ErrorKind::WouldBlock.into()),
            Moved::Ended => ended,
        }
    }
}

impl Port for StreamLine {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let moved = self.line.send(bytes);
        // That it has ended shows once everything that arrived has been read.
        self.moved(moved, Err(io::ErrorKind::WouldBlock.into()))
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let moved = self.line.receive(buffer);
        self.moved(moved, Ok(0))
    }

    fn wait(&mut self, bell: BorrowedFd<'_>, _to_send: bool) {
        let limit = Timespec { tv_sec: 0, tv_nsec: self.pause.subsec_nanos().into() };
        let _ = poll(&mut [PollFd::from_borrowed_fd(bell, PollFlags::IN)], Some(&limit));
        self.pause = (self.pause * 51 / 50).min(LONGEST_PAUSE);
    }

    fn is_waited_at(&mut self) -> bool {
        monitor::is_waited_at(&self.domain, &self.device)
    }
}
