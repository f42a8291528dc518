//! The standard output and error, and what happens to a run when their readers are gone.

use parking_lot::Mutex;
use std::io::{self, Write};
use std::sync::Arc;

use crate::error::Error;
use crate::hypervisor::Stream;
use crate::stop::Interrupt;

/// Why output was lost.
#[derive(Clone, Debug)]
pub enum Loss {
    /// The reader of a pipe has gone, as `head` does when it has seen enough.
    Reader,
    /// The standard output cannot be written to.
    Stdout(Error),
}

/// Records failed writes. The first loss ends the run as a signal would, so that everything is cleaned up.
#[derive(Clone, Default)]
pub struct Outlets {
    interrupt: Interrupt,
    loss: Arc<Mutex<Option<Loss>>>,
}

impl Outlets {
    pub fn new(interrupt: Interrupt) -> Self {
        Self { interrupt, loss: Arc::default() }
    }

    pub fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    pub fn loss(&self) -> Option<Loss> {
        self.loss.lock().clone()
    }

    pub fn note(&self, stream: Stream, written: &io::Result<()>) {
        let Err(cause) = written else { return };
        let loss = match (cause.kind(), stream) {
            (io::ErrorKind::BrokenPipe, _) => Loss::Reader,
            (_, Stream::Stdout) => Loss::Stdout(cannot_write(cause)),
            // It cannot be reported anywhere, and results may still arrive.
            (_, Stream::Stderr) => return,
        };
        self.loss.lock().get_or_insert(loss);
        self.interrupt.raise_for_good();
    }
}

pub fn cannot_write(cause: &io::Error) -> Error {
    Error::failed("cannot write to the standard output").cause(cause)
}

/// Writes all bytes and flushes.
pub fn write_all(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    out.write_all(bytes)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_loss_ends_the_run_and_is_the_one_that_is_told() {
        let outlets = Outlets::default();
        outlets.note(Stream::Stdout, &Ok(()));
        outlets.note(Stream::Stderr, &Err(io::ErrorKind::StorageFull.into()));
        assert!(outlets.loss().is_none() && !outlets.interrupt().is_raised());
        outlets.note(Stream::Stderr, &Err(io::ErrorKind::BrokenPipe.into()));
        outlets.note(Stream::Stdout, &Err(io::ErrorKind::StorageFull.into()));
        assert!(matches!(outlets.loss(), Some(Loss::Reader)));
        assert!(outlets.interrupt().is_raised() && outlets.interrupt().is_end());
    }
}
