//! The QEMU guest agent's protocol, over any [`Transport`]: a [`Guest`](crate::hypervisor::Guest) that needs neither
//! network nor keys. Through its agent, a guest gets the program at the other end of its channel, which then serves most
//! requests; the agent serves the rest, and all of them in guests that cannot have the program.

#[expect(clippy::module_inception, reason = "a file is a noun and holds the type of that name")]
mod agent;
mod archive;
mod calls;
mod feed;
mod file;
mod forwards;
mod guest;
mod guest_program;
mod process;
mod program;
mod sockets;
mod system;
#[cfg(test)]
mod tests;
mod transport;
mod way;
mod wrapper;

pub use agent::Agent;
pub use transport::{AttachedDisk, Ported, Scratch, Transport, TransportError};
