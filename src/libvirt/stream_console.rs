//! A domain's console on one of libvirt's streams.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error as VirtError;
use virt::stream::Stream;
use virt::sys;

use crate::error::Result;
use crate::hypervisor::Console;
use crate::libvirt::domain_facts::console_device;
use crate::libvirt::xml::Element;
use crate::libvirt::{embed, fault};

/// How long to wait when a stream has nothing to read, or no room for more.
const POLL: Duration = Duration::from_millis(5);

/// What a stream that does not block returns instead of waiting.
const WOULD_BLOCK: isize = -2;

/// A console, on a connection of its own.
///
/// Its stream does not block: the in-process driver holds the stream's lock while it waits in a read, so that nobody
/// could write. It is let go at the first sign of its end: the daemon of libvirt 11.3 crashes when something is written
/// to the stream of a guest that has stopped.
pub struct StreamConsole {
    /// `None` once it is closed.
    line: Mutex<Option<Line>>,
    name: String,
    device: Option<String>,
}

/// What is let go together, in this order.
struct Line {
    stream: Stream,
    domain: Domain,
    _connect: Connect,
    is_in_process: bool,
}

impl StreamConsole {
    pub fn open(uri: &str, name: &str) -> Result<Self, VirtError> {
        let connect = Connect::open(Some(uri))?;
        let domain = connect.lookup_domain_by_name(name)?;
        let document = Element::parse(&domain.xml_desc(0)?);
        let device = document.ok().as_ref().and_then(console_device);
        let stream = Stream::new(&connect, sys::VIR_STREAM_NONBLOCK)?;
        domain.open_console(None, &stream, 0)?;
        let is_in_process = embed::root_of(uri).is_some();
        let line = Line { stream, domain, _connect: connect, is_in_process };
        Ok(Self { line: Mutex::new(Some(line)), name: name.to_string(), device })
    }

    fn line(&self) -> MutexGuard<'_, Option<Line>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Repeats a call that moves bytes until it moved some; 0 when the stream has ended.
    fn moved(&self, mut call: impl FnMut(&Stream) -> Result<isize, VirtError>) -> Result<usize> {
        loop {
            let mut line = self.line();
            let Some(open) = line.as_ref() else { return Ok(0) };
            let failure = match call(&open.stream) {
                Ok(WOULD_BLOCK) => {
                    drop(line);
                    std::thread::sleep(POLL);
                    continue;
                }
                Ok(length @ 1..) => return Ok(length.unsigned_abs()),
                Ok(_) => None,
                // A guest that stops takes its console along.
                Err(error) => open.domain.is_active().unwrap_or(false).then_some(error),
            };
            line.take().into_iter().for_each(Line::hang_up);
            let lost = |error| fault::failed(format!("lost the console of `{}`", self.name), &error);
            return failure.map_or(Ok(0), |error| Err(lost(error)));
        }
    }
}

impl Line {
    fn hang_up(self) {
        // A daemon does not answer when it has ended the stream itself, and would be waited for. It finds out by the
        // end of the connection.
        if self.is_in_process {
            let _ = self.stream.abort();
        }
    }
}

impl Console for StreamConsole {
    fn read(&self, buffer: &mut [u8]) -> Result<usize> {
        self.moved(|stream| stream.recv(buffer))
    }

    fn write(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match self.moved(|stream| stream.send(bytes))? {
                0 => break,
                length => bytes = &bytes[length..],
            }
        }
        Ok(())
    }

    fn close(&self) {
        self.line().take().into_iter().for_each(Line::hang_up);
    }

    fn device(&self) -> Option<&str> {
        self.device.as_deref()
    }
}

impl Drop for StreamConsole {
    fn drop(&mut self) {
        self.close();
    }
}
