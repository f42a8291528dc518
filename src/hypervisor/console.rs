//! The console of a running domain.

use crate::error::Result;

/// An open console: a read returns what the guest prints there, a write types into it. One thread may read while
/// another one writes and a third one closes it.
pub trait Console: Send + Sync {
    /// Waits for output and reads some of it; returns 0 bytes once either side has closed the console.
    fn read(&self, buffer: &mut [u8]) -> Result<usize>;

    /// Writes all of `bytes`. It is no error that a closed console accepts no more.
    fn write(&self, bytes: &[u8]) -> Result<()>;

    /// Ends pending calls of `read` and `write`, and releases the console for others.
    fn close(&self);

    /// The console's device in the guest, such as `/dev/ttyS0`, if it is known.
    fn device(&self) -> Option<&str>;
}
