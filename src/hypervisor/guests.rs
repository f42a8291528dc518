//! Calls that reach into a guest.

use super::console::Console;
use super::guest::Guest;
use crate::error::Result;

/// A port on 127.0.0.1 that leads to a TCP port in a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    pub host: u16,
    pub guest: u16,
}

/// The ways into a running guest.
pub trait Guests: Send + Sync {
    /// Opens the system inside a running domain; does not wait for it to answer.
    fn guest(&self, domain: &str) -> Result<Box<dyn Guest>>;

    /// Opens the console of a running domain (`virDomainOpenConsole`), which one session can hold at a time.
    fn console(&self, domain: &str) -> Result<Box<dyn Console>>;

    /// Forwards a port on 127.0.0.1 to a TCP port in the guest, for as long as the domain exists (`hostfwd_add`).
    /// Returns the host's port.
    fn forward(&self, name: &str, guest_port: u16) -> Result<u16>;

    /// Lists the ports that are forwarded so (`info usernet`).
    fn forwards(&self, name: &str) -> Result<Vec<Forward>>;

    /// Takes a picture of the first screen: its MIME type and its bytes (`virDomainScreenshot`).
    fn screenshot(&self, name: &str) -> Result<(String, Vec<u8>)>;

    /// Says how much of the host's memory a running domain does not share with others, in bytes: what its QEMU has
    /// written to, apart from files. This is unknown for a domain on another host.
    fn own_memory(&self, name: &str) -> Result<Option<u64>>;
}
