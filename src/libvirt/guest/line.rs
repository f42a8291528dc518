//! A line of bytes to a running domain, on one of libvirt's streams.

use std::collections::VecDeque;
use std::io::Read;

use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error as VirtError;
use virt::stream::Stream;
use virt::sys;

use crate::libvirt::embed;

/// What a non-blocking stream returns instead of waiting.
const WOULD_BLOCK: isize = -2;

/// The outcome of an attempt to move bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    Bytes(usize),
    NothingYet,
    /// Either side has closed the line.
    Ended,
}

/// A stream on a connection of its own.
///
/// It does not block: the in-process driver holds the stream's lock while it waits in a read, which would block every
/// write. Its end is looked for before each write, and it is dropped at the first sign of that: the daemon of libvirt
/// 11.3 crashes when something is written to the stream of a guest that has stopped.
pub struct Line {
    /// `None` once it is closed.
    open: Option<Open>,
    /// What was received on the way to a write.
    ahead: VecDeque<u8>,
}

/// What is dropped together, in this order.
struct Open {
    stream: Stream,
    domain: Domain,
    _connect: Connect,
    is_in_process: bool,
}

impl Line {
    /// Opens a line; `begin` says to which of the domain's devices.
    pub fn open(
        uri: &str,
        name: &str,
        begin: impl FnOnce(&Domain, &Stream) -> Result<(), VirtError>,
    ) -> Result<Self, VirtError> {
        let connect = Connect::open(Some(uri))?;
        let domain = connect.lookup_domain_by_name(name)?;
        let stream = Stream::new(&connect, sys::VIR_STREAM_NONBLOCK)?;
        begin(&domain, &stream)?;
        let is_in_process = embed::root_of(uri).is_some();
        let open = Some(Open { stream, domain, _connect: connect, is_in_process });
        Ok(Self { open, ahead: VecDeque::new() })
    }

    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<Moved, VirtError> {
        // Reading from memory does not fail. The last of it may have arrived with the end.
        match self.ahead.read(buffer).unwrap_or_default() {
            0 => self.moved(|stream, _| stream.recv(buffer)),
            length => Ok(Moved::Bytes(length)),
        }
    }

    /// Sends some of `bytes`.
    pub fn send(&mut self, bytes: &[u8]) -> Result<Moved, VirtError> {
        self.moved(|stream, ahead| {
            let mut buffer = [0; 4096];
            loop {
                match stream.recv(&mut buffer)? {
                    WOULD_BLOCK => return stream.send(bytes),
                    length @ 1.. => ahead.extend(&buffer[..length.unsigned_abs()]),
                    ended => return Ok(ended),
                }
            }
        })
    }

    fn moved(
        &mut self,
        call: impl FnOnce(&Stream, &mut VecDeque<u8>) -> Result<isize, VirtError>,
    ) -> Result<Moved, VirtError> {
        let Some(open) = &self.open else { return Ok(Moved::Ended) };
        let failure = match call(&open.stream, &mut self.ahead) {
            Ok(WOULD_BLOCK) => return Ok(Moved::NothingYet),
            Ok(length @ 1..) => return Ok(Moved::Bytes(length.unsigned_abs())),
            Ok(_) => None,
            // A guest that stops takes its devices with it.
            Err(error) => open.domain.is_active().unwrap_or(false).then_some(error),
        };
        self.close();
        failure.map_or(Ok(Moved::Ended), Err)
    }

    pub fn close(&mut self) {
        // A daemon that has ended the stream itself does not answer, and this would wait for it. It notices when the
        // connection ends.
        if let Some(Open { stream, is_in_process: true, .. }) = self.open.take() {
            let _ = stream.abort();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.close();
    }
}
