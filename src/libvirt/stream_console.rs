//! A domain's console on one of libvirt's streams.

use std::collections::VecDeque;
use std::io::Read;
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
/// could write. Its end is looked for before each write, and it is let go at the first sign of that: the daemon of
/// libvirt 11.3 crashes when something is written to the stream of a guest that has stopped.
pub struct StreamConsole {
    state: Mutex<State>,
    name: String,
    device: Option<String>,
}

#[derive(Default)]
struct State {
    /// `None` once it is closed.
    line: Option<Line>,
    /// What was received on the way to a write.
    ahead: VecDeque<u8>,
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
        let state = State { line: Some(line), ..State::default() };
        Ok(Self { state: Mutex::new(state), name: name.to_string(), device })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Repeats a call that moves bytes until it moved some; 0 when the stream has ended.
    fn moved(&self, mut call: impl FnMut(&Line, &mut VecDeque<u8>) -> Result<isize, VirtError>) -> Result<usize> {
        loop {
            let mut state = self.state();
            let State { line: Some(line), ahead } = &mut *state else { return Ok(0) };
            let failure = match call(line, ahead) {
                Ok(WOULD_BLOCK) => {
                    drop(state);
                    std::thread::sleep(POLL);
                    continue;
                }
                Ok(length @ 1..) => return Ok(length.unsigned_abs()),
                Ok(_) => None,
                // A guest that stops takes its console along.
                Err(error) => line.domain.is_active().unwrap_or(false).then_some(error),
            };
            state.hang_up();
            let lost = |error| fault::failed(format!("lost the console of `{}`", self.name), &error);
            return failure.map_or(Ok(0), |error| Err(lost(error)));
        }
    }
}

impl State {
    fn hang_up(&mut self) {
        // A daemon does not answer when it has ended the stream itself, and would be waited for. It finds out by the
        // end of the connection.
        if let Some(Line { stream, is_in_process: true, .. }) = self.line.take() {
            let _ = stream.abort();
        }
    }
}

/// Sends some of `bytes`, unless the stream has ended before.
fn send(stream: &Stream, ahead: &mut VecDeque<u8>, bytes: &[u8]) -> Result<isize, VirtError> {
    let mut buffer = [0; 4096];
    loop {
        match stream.recv(&mut buffer)? {
            WOULD_BLOCK => return stream.send(bytes),
            length @ 1.. => ahead.extend(&buffer[..length.unsigned_abs()]),
            ended => return Ok(ended),
        }
    }
}

impl Console for StreamConsole {
    fn read(&self, buffer: &mut [u8]) -> Result<usize> {
        let moved = self.moved(|line, ahead| match take(ahead, buffer) {
            0 => line.stream.recv(buffer),
            length => Ok(length.cast_signed()),
        });
        // The last of it may have come with the end.
        moved.map(|length| if length == 0 { take(&mut self.state().ahead, buffer) } else { length })
    }

    fn write(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match self.moved(|line, ahead| send(&line.stream, ahead, bytes))? {
                0 => break,
                length => bytes = &bytes[length..],
            }
        }
        Ok(())
    }

    fn close(&self) {
        self.state().hang_up();
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

fn take(ahead: &mut VecDeque<u8>, buffer: &mut [u8]) -> usize {
    // Reading from memory does not fail.
    ahead.read(buffer).unwrap_or_default()
}
