//! The QEMU guest agent's protocol, over any [`Transport`]: a [`Guest`](crate::hypervisor::Guest) that needs neither
//! network nor keys.

#[expect(clippy::module_inception, reason = "a file is a noun and holds the type of that name")]
mod agent;
mod calls;
mod feed;
mod file;
mod process;
mod program;
mod sockets;
#[cfg(test)]
mod tests;
mod transport;
mod waker;
mod wrapper;

pub use agent::Agent;
pub use transport::{Port, Transport, TransportError};
pub use waker::PORT;
