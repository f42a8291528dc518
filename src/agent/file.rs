//! Files of the guest, in pieces that fit into one message.

use std::io::{Read, Write};

use crate::agent::calls::Calls;
use crate::agent::transport::{Transport, TransportError};
use crate::error::{Because, Error, Result};
use crate::hypervisor::FileMode;
use crate::stop::Stop;

/// Bytes read per message: base64 makes 1.4 MiB of it, and libvirt's limit is 4 MiB.
const READ_CHUNK: usize = 1 << 20;
/// Bytes written per message. Under TCG, messages with 256 KiB and more were seen to stall for a minute or to arrive
/// broken, while this size never was and is hardly slower per byte.
const WRITE_CHUNK: usize = 64 << 10;

/// An open file of the guest, closed when it is dropped.
pub struct File<'a, T: Transport> {
    calls: &'a Calls<T>,
    handle: Option<i64>,
}

impl<'a, T: Transport> File<'a, T> {
    pub fn open(calls: &'a Calls<T>, path: &str, mode: &str) -> Result<Self, TransportError> {
        Ok(Self { calls, handle: Some(calls.open(path, mode)?) })
    }

    /// Reads what is there, at most one message full; the flag says that the file ends here for now.
    pub fn read(&self) -> Result<(Vec<u8>, bool), TransportError> {
        let (data, eof) = self.calls.read(self.handle.unwrap_or(-1), READ_CHUNK)?;
        let ended = eof || data.is_empty();
        Ok((data, ended))
    }

    pub fn write(&self, mut data: &[u8]) -> Result<(), TransportError> {
        while !data.is_empty() {
            let chunk = &data[..data.len().min(WRITE_CHUNK)];
            let written = self.calls.write(self.handle.unwrap_or(-1), chunk)?;
            data = &data[written..];
        }
        Ok(())
    }

    /// Closes the file, which is when the last errors of writing show.
    pub fn close(mut self) -> Result<(), TransportError> {
        self.handle.take().map_or(Ok(()), |handle| self.calls.close(handle))
    }
}

impl<T: Transport> Drop for File<'_, T> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle {
            // The guest may be gone; whatever failed before this is the error to tell.
            let _ = self.calls.close(handle);
        }
    }
}

/// Reads the whole file `path` into `sink`; returns its length.
pub fn read<T: Transport>(calls: &Calls<T>, path: &str, sink: &mut dyn Write, stop: &Stop) -> Result<u64> {
    let refused = |error| failure(&format!("cannot read `{path}` in the guest"), &error);
    let file = File::open(calls, path, "r").map_err(refused)?;
    let mut length = 0;
    loop {
        stop.check(|| format!("reading `{path}` in the guest"))?;
        let (data, ended) = file.read().map_err(refused)?;
        sink.write_all(&data).because(|| format!("cannot keep what was read from `{path}` in the guest"))?;
        length += data.len() as u64;
        if ended {
            return file.close().map_err(refused).map(|()| length);
        }
    }
}

/// Replaces the file `path` by what `source` yields; returns its length. `set_mode` runs once the file is there and
/// before anything is in it, so that a secret is never readable for others.
pub fn write<T: Transport>(
    calls: &Calls<T>,
    path: &str,
    source: &mut dyn Read,
    mode: &FileMode,
    stop: &Stop,
    set_mode: &mut dyn FnMut(&FileMode) -> Result<()>,
) -> Result<u64> {
    let refused = |error| failure(&format!("cannot write `{path}` in the guest"), &error);
    let mut mode = mode.clone();
    if mode.mode.is_none() && !exists(calls, path).map_err(refused)? {
        // The agent gives its new files to everyone (0666), which no umask would.
        mode.mode = Some(0o644);
    }
    let file = File::open(calls, path, "w").map_err(refused)?;
    if mode != FileMode::default() {
        set_mode(&mode)?;
    }
    let mut length = 0;
    let mut chunk = Vec::with_capacity(WRITE_CHUNK);
    loop {
        stop.check(|| format!("writing `{path}` in the guest"))?;
        chunk.clear();
        let limit = WRITE_CHUNK as u64;
        source.take(limit).read_to_end(&mut chunk).because(|| format!("cannot read what is to be in `{path}`"))?;
        if chunk.is_empty() {
            return file.close().map_err(refused).map(|()| length);
        }
        file.write(&chunk).map_err(refused)?;
        length += chunk.len() as u64;
    }
}

fn exists<T: Transport>(calls: &Calls<T>, path: &str) -> Result<bool, TransportError> {
    match File::open(calls, path, "r+") {
        Ok(_) => Ok(true),
        Err(TransportError::Agent { desc, .. }) => Ok(!desc.ends_with("No such file or directory")),
        Err(error) => Err(error),
    }
}

/// Turns the agent's refusal into an error: of its own sentence only the system's words at the end are news.
pub fn failure(message: &str, error: &TransportError) -> Error {
    let text = error.to_string();
    let cause = match error {
        TransportError::Agent { .. } => text.rsplit(": ").next().unwrap_or(&text),
        _ => &text,
    };
    Error::failed(message).cause(cause)
}
