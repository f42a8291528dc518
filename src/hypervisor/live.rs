//! Guests whose state is kept while they run, and that go on from it elsewhere.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Result;

/// How the RAM of a running guest can be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// In a file that the guest has its RAM in from its start, so that nothing is copied.
    Mapped,
    /// In a file that libvirt writes it to (`virDomainSaveFlags`), since it cannot be mapped because of this.
    Saved(String),
    /// Not at all, because of this.
    No(String),
}

/// Where a clone has its RAM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ram {
    /// Where libvirt puts it.
    #[default]
    Default,
    /// In no file, and so that it fits a guest that has it in one.
    Anonymous,
    /// In this file, which is made when it is not there. Other clones may go on from it once this one is frozen.
    Shared(PathBuf),
    /// In this file, which stays as it is: what the guest writes is its own (copy-on-write).
    Private(PathBuf),
}

/// The state of a guest that was stopped in the middle of what it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frozen {
    /// The file with the state of its devices; its RAM is in the file that it has mapped.
    Devices(PathBuf),
    /// The file with the state of its devices and its RAM.
    Whole(PathBuf),
    /// The file that libvirt saved it to.
    Saved(PathBuf),
}

/// Makes a copy of a guest's RAM the same again, while the guest stands still.
pub type CatchUp = Box<dyn Fn() -> Result<()> + Send + Sync>;

/// What a frozen state fits, by name, such as the version of QEMU: two guests with equal ones can go on from each
/// other's states.
pub type Fingerprint = BTreeMap<String, String>;
