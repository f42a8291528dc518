//! The console of a running domain, or a terminal in its guest.

use super::exit::Exit;
use crate::error::Result;

/// An open console or terminal: a read returns what the guest prints there, a write types into it. One thread may read
/// while another one writes and a third one closes it.
pub trait Console: Send + Sync {
    /// Waits for output and reads some of it; returns 0 bytes once either side has closed the console.
    fn read(&self, buffer: &mut [u8]) -> Result<usize>;

    /// Writes all of `bytes`. It is no error that a closed console accepts no more.
    fn write(&self, bytes: &[u8]) -> Result<()>;

    /// Ends pending calls of `read` and `write`, and releases the console for others.
    fn close(&self);

    /// The console's device in the guest, such as `/dev/ttyS0`, if it is known.
    fn device(&self) -> Option<&str> {
        None
    }

    /// Sets the size of the terminal in the guest; says whether it can do so.
    fn resize(&self, _rows: u16, _columns: u16) -> bool {
        false
    }

    /// Says how the command at the other end has ended, if it has; a console has none.
    fn exit(&self) -> Option<Exit> {
        None
    }
}
