//! The line that carries a channel.

use std::io;
use std::os::fd::BorrowedFd;

/// A line of bytes to a process in a guest; dropping it hangs up. Both calls that move bytes fail with
/// [`io::ErrorKind::WouldBlock`] instead of waiting.
pub trait Port: Send {
    /// Sends some of `bytes`, which are not none; returns how many.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Takes some of what has arrived; 0 bytes at the end of the line.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Waits until something has arrived, until `bell` can be read, or until there is room to send if that is waited
    /// for; for a second at most.
    fn wait(&mut self, bell: BorrowedFd<'_>, to_send: bool);

    /// Says whether a process in the guest has the port open.
    fn is_waited_at(&mut self) -> bool;
}
