//! Archives on their way between the host and a guest.

use std::io::{self, Write};
use std::sync::mpsc::{self, SyncSender};

use crate::error::{Because, Error, Kind, Result};
use crate::hypervisor::{Input, NO_READER};
use crate::stop::{Interrupt, Stop};

/// How many pieces of an archive are made before the guest takes them.
const AHEAD: usize = 4;

/// Makes an archive in a thread while `take` takes it; returns what `take` does.
pub fn send<R: Send>(
    make: impl FnOnce(Pieces) -> io::Result<()> + Send,
    failed: impl FnOnce() -> String + Send,
    take: impl FnOnce(&Input) -> Result<R>,
) -> Result<R> {
    let (sender, archive) = mpsc::sync_channel(AHEAD);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if let Err(error) = make(Pieces(sender.clone())).because(failed) {
                // The guest may have ended before; then this has no reader.
                let _ = sender.send(Err(error));
            }
        });
        let taken = take(&archive);
        // Then making ends too, if the guest has not taken all of it.
        drop(archive);
        taken
    })
}

/// Takes an archive in a thread while `make` makes it. If taking it fails, `make` is stopped, and that is the error.
pub fn receive(
    make: impl FnOnce(&mut dyn Write, &Stop) -> Result<()>,
    take: impl FnOnce(&mut io::PipeReader) -> io::Result<()> + Send,
    failed: impl FnOnce() -> String,
    stop: &Stop,
) -> Result<()> {
    let (mut reader, mut writer) = io::pipe().because(|| "cannot make a pipe".to_string())?;
    let no_reader = Interrupt::default();
    std::thread::scope(|scope| {
        let no_reader = &no_reader;
        let taking = scope.spawn(move || {
            // The guest waits until the end is read too.
            let taken = take(&mut reader).and_then(|()| io::copy(&mut reader, &mut io::sink()).map(drop));
            if taken.is_err() {
                no_reader.raise();
            }
            taken
        });
        let made = make(&mut writer, &stop.or(no_reader));
        drop(writer);
        let taken = taking.join().unwrap_or_else(|_| Err(io::Error::other("unpacking panicked")));
        // One that cannot be made whole cannot be taken either, and the other way round.
        let is_stopped = stop.check(String::new).is_err();
        let is_cut = |error: &Error| error.kind == Kind::Interrupted || error.message == NO_READER;
        match (made, taken) {
            (Err(error), Err(_)) if is_stopped || !is_cut(&error) => Err(error),
            (_, Err(error)) => Err(Error::failed(failed()).cause(error)),
            (made, Ok(())) => made,
        }
    })
}

/// What is written is sent in pieces.
pub struct Pieces(SyncSender<Result<Vec<u8>>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.send(Ok(bytes.to_vec())).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
