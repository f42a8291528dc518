//! The host's end of a guest's channel: many commands and files at once over one port of a virtio-serial card. The
//! other end is the program in `guest/`.

mod attendant;
mod connections;
mod digest;
mod forwarding;
#[allow(dead_code, reason = "the other half is the guest's")]
mod frame;
mod hello;
mod line;
mod port;
mod requests;
mod session;
mod stream;
mod terminal;
#[cfg(test)]
mod tests;

pub use attendant::attend;
pub use digest::Digest;
pub use forwarding::{Forwarding, Sessions};
pub use hello::Refused;
pub use port::Port;
pub use requests::{Reading, Source, Trouble, Woken, system_error};
pub use session::Session;
pub use terminal::ChannelTerminal;

/// The name of the port that the program waits at in the guest. The first such program only woke guests, and snapshots
/// that are kept have this port.
pub const PORT: &str = "org.snaptree.waker.0";
/// The program, as `build.rs` compiles it; empty where guests have none.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/channel"));
