//! A domain's console on one of libvirt's streams.

use parking_lot::{Mutex, MutexGuard};
use std::time::Duration;

use virt::error::Error as VirtError;

use crate::error::Result;
use crate::hypervisor::Console;
use crate::libvirt::fault;
use crate::libvirt::guest::line::{Line, Moved};
use crate::libvirt::xml::domain_facts::console_device;
use crate::libvirt::xml::element::Element;

/// How long to wait when a stream has nothing to read, or no room for more.
const POLL: Duration = Duration::from_millis(5);

/// A console, on a connection of its own.
pub struct StreamConsole {
    line: Mutex<Line>,
    name: String,
    device: Option<String>,
}

impl StreamConsole {
    pub fn open(uri: &str, name: &str) -> Result<Self, VirtError> {
        let mut device = None;
        let line = Line::open(uri, name, |domain, stream| {
            let document = Element::parse(&domain.xml_desc(0)?);
            device = document.ok().as_ref().and_then(console_device);
            domain.open_console(None, stream, 0)
        })?;
        Ok(Self { line: Mutex::new(line), name: name.to_string(), device })
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock()
    }

    /// Repeats a call that moves bytes until it has moved some; returns 0 when the line has ended.
    fn moved(&self, mut call: impl FnMut(&mut Line) -> Result<Moved, VirtError>) -> Result<usize> {
        loop {
            // Others get their turn while this one waits.
            let moved = call(&mut self.line());
            match moved.map_err(|error| fault::failed(format!("lost the console of `{}`", self.name), &error))? {
                Moved::Bytes(length) => return Ok(length),
                Moved::NothingYet => std::thread::sleep(POLL),
                Moved::Ended => return Ok(0),
            }
        }
    }
}

impl Console for StreamConsole {
    fn read(&self, buffer: &mut [u8]) -> Result<usize> {
        self.moved(|line| line.receive(buffer))
    }

    fn write(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match self.moved(|line| line.send(bytes))? {
                0 => break,
                length => bytes = &bytes[length..],
            }
        }
        Ok(())
    }

    fn close(&self) {
        self.line().close();
    }

    fn device(&self) -> Option<&str> {
        self.device.as_deref()
    }
}
