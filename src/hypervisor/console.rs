//! The console of a running domain.

use crate::error::Result;

/// An open console: what the guest prints there is read, what is typed there is written. One thread may read while
/// another one writes and a third one closes it.
pub trait Console: Send + Sync {
    /// Waits for output and reads some of it, 0 bytes once the console is closed, from whichever side.
    fn read(&self, buffer: &mut [u8]) -> Result<usize>;

    /// Writes all of `bytes`. A console that is closed takes no more, which is no error.
    fn write(&self, bytes: &[u8]) -> Result<()>;

    /// Ends what waits in `read` and `write`, and leaves the console to others.
    fn close(&self);

    /// The console's device in the guest, such as `/dev/ttyS0`, where that is known.
    fn device(&self) -> Option<&str>;
}
