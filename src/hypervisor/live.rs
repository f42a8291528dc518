//! Guests whose state is saved while they run, and that resume from it elsewhere.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Result;

/// How the RAM of a running guest can be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// In a file that the guest's RAM is mapped to from the start, so that nothing is copied.
    Mapped,
    /// In a file that libvirt writes it to (`virDomainSaveFlags`), since it cannot be mapped for this reason.
    Saved(String),
    /// Not at all, for this reason.
    No(String),
}

/// Where a clone has its RAM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ram {
    /// Where libvirt puts it.
    #[default]
    Default,
    /// In no file, but in a way that fits a guest whose RAM is in one.
    Anonymous,
    /// In this file, which is created if missing. Other clones may resume from it once this one is frozen.
    Shared(PathBuf),
    /// In this file, which stays as it is: what the guest writes is its own (copy-on-write).
    Private(PathBuf),
}

/// The state of a guest that was stopped in the middle of its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frozen {
    /// The file with the state of its devices; its RAM is in the file that it is mapped to.
    Devices(PathBuf),
    /// The file with the state of its devices and its RAM.
    Whole(PathBuf),
    /// The file that libvirt saved it to.
    Saved(PathBuf),
}

/// Brings a copy of a guest's RAM up to date while the guest is stopped.
pub type CatchUp = Box<dyn Fn() -> Result<()> + Send + Sync>;

/// What a frozen state depends on, by name, such as the version of QEMU: two guests with equal fingerprints can resume
/// from each other's states.
pub type Fingerprint = BTreeMap<String, String>;
