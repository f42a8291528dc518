//! Calls that reach into a guest.

use super::console::Console;
use super::guest::{Forward, Guest, Ports};
use crate::error::Result;
use crate::stop::Interrupt;

/// The ways into a running guest.
pub trait Guests: Send + Sync {
    /// Opens the system inside a running domain; does not wait for it to answer.
    fn guest(&self, domain: &str) -> Result<Box<dyn Guest>>;

    /// Opens the console of a running domain (`virDomainOpenConsole`), which one session can hold at a time.
    fn console(&self, domain: &str) -> Result<Box<dyn Console>>;

    /// Forwards a port on 127.0.0.1 to a TCP port in the guest by QEMU's user networking, for as long as the domain
    /// exists (`hostfwd_add`). Where the host's port is 0, a free one is chosen. Returns the host's port; `None` if the
    /// domain has no user networking.
    fn forward(&self, name: &str, forward: Forward) -> Result<Option<u16>>;

    /// Lists the ports that are forwarded so (`info usernet`), and those that an attendant forwards.
    fn ports(&self, name: &str) -> Result<Ports>;

    /// Starts a process that attends the channel of a running domain until the domain ends, unless there is one: several
    /// processes may then use the channel at once. A new one forwards these ports, or those that one forwarded which was
    /// killed. Returns what is forwarded.
    fn start_attendant(&self, name: &str, ports: &Ports) -> Result<Ports>;

    /// Attends the channel of a running domain in this process, until the domain or `interrupt` ends it. `ready` is told
    /// what is forwarded, once other processes may come. Does nothing if another one attends.
    fn attend(
        &self,
        name: &str,
        ports: &Ports,
        interrupt: &Interrupt,
        ready: &mut dyn FnMut(&Ports) -> Result<()>,
    ) -> Result<()>;

    /// Takes a picture of the first screen: its MIME type and its bytes (`virDomainScreenshot`).
    fn screenshot(&self, name: &str) -> Result<(String, Vec<u8>)>;

    /// Says how much of the host's memory a running domain does not share with others, in bytes: what its QEMU has
    /// written to, apart from files. This is unknown for a domain on another host.
    fn own_memory(&self, name: &str) -> Result<Option<u64>>;
}
