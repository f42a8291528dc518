//! Snapshots as plain data.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{DomainDocument, Metadata};

/// A snapshot that exists.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    pub name: String,
    pub parent: Option<String>,
    pub comment: String,
    /// Seconds since the epoch.
    pub created: u64,
    /// libvirt's word: `shutoff`, `running`, `disk-snapshot`, ...
    pub state: String,
    pub is_current: bool,
    /// The domain as it was, whose disks are this snapshot's layers.
    pub document: DomainDocument,
    /// The target and the file of each disk in the document.
    pub layers: Vec<(String, PathBuf)>,
    /// The overlay that each disk went on writing to after the snapshot.
    pub overlays: Vec<PathBuf>,
    pub metadata: Option<Metadata>,
}

/// One disk of a snapshot that is to be put into a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskState {
    /// The target in the guest, such as `vda`.
    pub target: String,
    /// The file that holds the state.
    pub layer: PathBuf,
    /// The file that the domain goes on writing to; it need not exist.
    pub overlay: PathBuf,
}

/// A snapshot to be put into a tree.
#[derive(Clone, Debug)]
pub struct SnapshotSpec {
    pub name: String,
    pub parent: Option<String>,
    pub comment: String,
    pub created: u64,
    /// Makes it the domain's current snapshot.
    pub current: bool,
    /// The domain's document; its disks are replaced by the layers and its metadata by `metadata`.
    pub document: DomainDocument,
    pub disks: Vec<DiskState>,
    pub metadata: Metadata,
}
