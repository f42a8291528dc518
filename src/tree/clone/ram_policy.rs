//! How the RAM of a clone is kept.

use std::path::PathBuf;

use crate::hypervisor::{MappedMemory, Memory};

/// How a clone's own RAM is kept when it is frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RamPolicy {
    /// Not at all; the guest is shut down.
    Disks,
    /// Not until it is needed; then it is written to a file and mapped again.
    Whole,
    /// In the file in which it already is.
    Mapped(PathBuf),
    /// In a file that libvirt writes.
    Saved,
}

impl RamPolicy {
    /// Lists the files that hold the RAM while the guest runs.
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Self::Disks | Self::Whole | Self::Saved => Vec::new(),
            Self::Mapped(ram) => vec![ram.clone()],
        }
    }

    /// Returns where to keep the RAM of a guest that continues in `overlay`: beside it.
    pub fn beside(&self, overlay: Option<&PathBuf>) -> Memory {
        let file = |ending: &str| overlay.map(|overlay| overlay.with_extension(ending));
        match self {
            Self::Disks | Self::Whole => Memory::No,
            Self::Saved => file("ram").map_or(Memory::No, Memory::External),
            Self::Mapped(_) => match (file("ram"), file("devices")) {
                (Some(ram), Some(devices)) => Memory::Mapped(MappedMemory { ram, devices }),
                _ => Memory::No,
            },
        }
    }
}
