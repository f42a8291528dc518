//! Files of the guest, in pieces that fit into one message.

mod disk;

use std::io::{Read, Write};

use crate::agent::calls::{Calls, Whence};
use crate::agent::transport::{Transport, TransportError};
use crate::error::{Because, Error, Result};
use crate::hypervisor::FileMode;
use crate::stop::Stop;

/// Bytes read per message: base64 makes 1.4 MiB of it, and libvirt's limit is 4 MiB.
const READ_CHUNK: usize = 1 << 20;
/// Bytes written per message. Under TCG, messages with 256 KiB and more were seen to stall for a minute or to arrive
/// broken, while this size never was and is hardly slower per byte.
const WRITE_CHUNK: usize = 64 << 10;

/// Bytes that are remembered after they were sent, since an agent that ends may not have written them yet.
const KEPT: usize = 256 << 10;

/// An open file of the guest, closed when it is dropped.
pub struct File<'a, T: Transport> {
    calls: &'a Calls<T>,
    handle: Option<i64>,
}

impl<'a, T: Transport> File<'a, T> {
    pub fn open(calls: &'a Calls<T>, path: &str, mode: &str) -> Result<Self, TransportError> {
        Ok(Self { calls, handle: Some(calls.open(path, mode)?) })
    }

    /// Reads what is there, at most one message's worth; the flag says that the file ends here for now.
    pub fn read(&self) -> Result<(Vec<u8>, bool), TransportError> {
        self.calls.read(self.handle.unwrap_or(-1), READ_CHUNK)
    }

    pub fn write(&self, mut data: &[u8]) -> Result<(), TransportError> {
        while !data.is_empty() {
            let chunk = &data[..data.len().min(WRITE_CHUNK)];
            let written = self.calls.write(self.handle.unwrap_or(-1), chunk)?;
            data = &data[written..];
        }
        Ok(())
    }

    /// Seeks to `place` bytes after the beginning.
    pub fn go_to(&self, place: u64) -> Result<(), TransportError> {
        match self.seek(place, Whence::Beginning)? {
            now if now == place => Ok(()),
            now => Err(TransportError::Other(format!("its position is byte {now} instead of {place}"))),
        }
    }

    /// Returns the current position, in bytes after the beginning.
    fn place(&self) -> Result<u64, TransportError> {
        self.seek(0, Whence::Here)
    }

    /// Seeks to the end; returns the length of the file.
    fn end(&self) -> Result<u64, TransportError> {
        self.seek(0, Whence::End)
    }

    fn seek(&self, offset: u64, whence: Whence) -> Result<u64, TransportError> {
        self.calls.seek(self.handle.unwrap_or(-1), offset, whence)
    }

    /// Closes the file, which is when the last write errors show.
    pub fn close(&mut self) -> Result<(), TransportError> {
        self.calls.close(self.handle.unwrap_or(-1))?;
        self.handle = None;
        Ok(())
    }

    /// Drops a file that the agent has forgotten.
    pub fn forget(mut self) {
        self.handle = None;
    }
}

impl<T: Transport> Drop for File<'_, T> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle {
            // The guest may be gone; the error to report is the one before this.
            let _ = self.calls.close(handle);
        }
    }
}

/// The transfer of one file's contents, which continues if the agent restarts meanwhile.
struct Transfer<'a, T: Transport> {
    calls: &'a Calls<T>,
    path: &'a str,
    /// "reading" or "writing".
    doing: &'static str,
    stop: &'a Stop,
}

impl<'a, T: Transport> Transfer<'a, T> {
    fn failed(&self, error: &TransportError) -> Error {
        let verb = if self.doing == "reading" { "read" } else { "write" };
        failure(&format!("cannot {verb} `{}` in the guest", self.path), error)
    }

    fn check(&self) -> Result<()> {
        self.stop.check(|| self.what())
    }

    fn what(&self) -> String {
        format!("{} `{}` in the guest", self.doing, self.path)
    }

    /// Opens the file; waits for an agent that was there before.
    fn open(&self, mode: &str) -> Result<File<'a, T>> {
        let opened = self.calls.when_there(self.stop, &self.what(), || File::open(self.calls, self.path, mode))?;
        opened.map_err(|error| self.failed(&error))
    }

    fn exists(&self) -> Result<bool> {
        match self.calls.when_there(self.stop, &self.what(), || File::open(self.calls, self.path, "r+"))? {
            Ok(_) => Ok(true),
            Err(TransportError::Agent { desc, .. }) if !is_forbidden(&desc) => {
                Ok(!desc.ends_with("No such file or directory"))
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Reopens the file after the agent has forgotten it; `find` seeks to where it was.
    fn open_again(&self, mode: &str, find: impl Fn(&File<'a, T>) -> Result<(), TransportError>) -> Result<File<'a, T>> {
        loop {
            self.check()?;
            let file = self.open(mode)?;
            match find(&file) {
                Ok(()) => return Ok(file),
                Err(error) if is_let_go(&error) => file.forget(),
                Err(error) => return Err(self.failed(&error).cause("the guest agent restarted meanwhile")),
            }
        }
    }
}

/// Says whether the error means that the agent is restarting, or has restarted and forgotten the open files.
fn is_let_go(error: &TransportError) -> bool {
    match error {
        TransportError::NotConnected(_) => true,
        TransportError::Agent { desc, .. } => desc.starts_with("handle ") && desc.ends_with("has not been found"),
        TransportError::Gone(_) | TransportError::Other(_) => false,
    }
}

/// Reads the whole file `path` into `sink`; returns its length.
pub fn read<T: Transport>(calls: &Calls<T>, path: &str, sink: &mut dyn Write, stop: &Stop) -> Result<u64> {
    let transfer = Transfer { calls, path, doing: "reading", stop };
    let mut file = transfer.open("r")?;
    let (mut length, mut pieces) = (0, 0);
    loop {
        transfer.check()?;
        match file.read() {
            Ok((data, ended)) => {
                sink.write_all(&data).because(|| format!("cannot keep what was read from `{path}` in the guest"))?;
                (length, pieces) = (length + data.len() as u64, pieces + 1);
                if ended {
                    break;
                }
            }
            Err(error) if is_let_go(&error) => {
                file.forget();
                file = transfer.open_again("r", |file| file.go_to(length))?;
            }
            Err(error) => return Err(transfer.failed(&error)),
        }
    }
    if pieces > 1 {
        // A piece that was answered twice would be in the copy twice.
        match file.place() {
            Ok(place) if place != length => {
                let error = TransportError::Other("the guest agent's answers are out of step".to_string());
                return Err(transfer.failed(&error));
            }
            // Not every file has positions.
            Ok(_) | Err(TransportError::Agent { .. } | TransportError::NotConnected(_)) => {}
            Err(error) => return Err(transfer.failed(&error)),
        }
    }
    match file.close() {
        Err(error) if !is_let_go(&error) => Err(transfer.failed(&error)),
        _ => Ok(length),
    }
}

/// Replaces the file `path` with what `source` yields; returns its length. `set_mode` runs once the file exists and
/// before anything is in it, so that others can never read a secret.
pub fn write<T: Transport>(
    calls: &Calls<T>,
    path: &str,
    source: &mut dyn Read,
    mode: &FileMode,
    stop: &Stop,
    set_mode: &mut dyn FnMut(&FileMode) -> Result<()>,
) -> Result<u64> {
    let transfer = Transfer { calls, path, doing: "writing", stop };
    let mut mode = mode.clone();
    if mode.mode.is_none() && !transfer.exists()? {
        // The agent lets everyone write to its new files (0666), which no umask would.
        mode.mode = Some(0o644);
    }
    let mut file = transfer.open("w")?;
    if mode != FileMode::default() {
        set_mode(&mode)?;
    }
    let mut length = 0;
    let (mut chunk, mut before) = (Vec::with_capacity(WRITE_CHUNK), Vec::new());
    loop {
        transfer.check()?;
        chunk.clear();
        let limit = WRITE_CHUNK as u64;
        source.take(limit).read_to_end(&mut chunk).because(|| format!("cannot read what is to be in `{path}`"))?;
        while let Err(error) = if chunk.is_empty() { file.close() } else { file.write(&chunk) } {
            if !is_let_go(&error) {
                return Err(transfer.failed(&error));
            }
            file.forget();
            file = transfer.open_again("r+", |file| restore(file, length, &before))?;
        }
        if chunk.is_empty() {
            return Ok(length);
        }
        length += chunk.len() as u64;
        before.extend_from_slice(&chunk);
        before.drain(..before.len().saturating_sub(KEPT));
    }
}

/// Seeks to `length` bytes after the beginning of a reopened file. The agent buffers the end of what it has received
/// for a while, so that some of the bytes `before` may have to be written again.
fn restore<T: Transport>(file: &File<'_, T>, length: u64, before: &[u8]) -> Result<(), TransportError> {
    let end = file.end()?.min(length);
    let missing = usize::try_from(length - end).ok().filter(|missing| *missing <= before.len());
    let Some(missing) = missing else {
        return Err(TransportError::Other("less is in the file than was written".to_string()));
    };
    file.go_to(end)?;
    file.write(&before[before.len() - missing..])
}

/// Turns the agent's refusal into an error: only the system's message at the end of its sentence is worth repeating.
pub fn failure(message: &str, error: &TransportError) -> Error {
    let text = error.to_string();
    match error {
        TransportError::Agent { .. } if is_forbidden(&text) => Error::failed(message).cause(text).hint(
            "allow it in the guest: BLACKLIST_RPC or FILTER_RPC_ARGS in /etc/sysconfig/qemu-ga, or `block-rpcs` in \
             /etc/qemu/qemu-ga.conf; then restart the guest agent",
        ),
        TransportError::Agent { .. } => Error::failed(message).cause(text.rsplit(": ").next().unwrap_or(&text)),
        _ => Error::failed(message).cause(&text),
    }
}

/// Says whether the agent is configured to refuse such commands, as on some distributions.
fn is_forbidden(refusal: &str) -> bool {
    refusal.contains("has been disabled")
        || refusal.starts_with("The command ") && refusal.ends_with(" has not been found")
}
