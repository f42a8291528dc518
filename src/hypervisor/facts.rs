//! What a connection is, and what the host can do.

use super::domain::{Accelerator, Version};
use super::neighbour::Neighbours;
use super::reaping::Reaping;
use crate::error::Result;

/// What a connection is, and what the host behind it can do.
pub trait Facts: Send + Sync {
    /// Returns the connection URI, as `virsh uri` prints it.
    fn uri(&self) -> String;

    /// Reopens a connection that was lost; one that is alive is left alone (`virConnectIsAlive`).
    fn revive(&self) -> Result<()> {
        Ok(())
    }

    /// Returns libvirt's version (`virConnectGetLibVersion`).
    fn version(&self) -> Result<Version>;

    /// Says whether guest code runs under KVM here, and if not, why.
    fn accelerator(&self) -> Result<Accelerator>;

    /// Says whether guests never boot here, so that images need not exist.
    fn is_simulated(&self) -> bool;

    /// Says whether its domains outlive this process and other processes reach them at the same time, as with a daemon.
    fn is_shared(&self) -> bool;

    /// Says how soon a QEMU that has ended is reaped; `None` without any QEMU.
    fn reaping(&self) -> Option<Reaping> {
        None
    }

    /// Names the program that runs guests, with its version.
    fn emulator(&self) -> Result<String>;

    /// Lists the domains of other connections to this host, as far as they can be seen without starting anything.
    fn neighbours(&self) -> Neighbours;
}
