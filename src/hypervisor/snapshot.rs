//! Snapshots as plain data.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::domain::{DiskFile, Document, Image, Metadata};

/// Where a snapshot keeps its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotKind {
    /// Inside the qcow2 file that the guest keeps writing to.
    Internal,
    /// In the file itself; the guest continues on an overlay.
    External,
}

impl SnapshotKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::External => "external",
        }
    }
}

/// Where a snapshot keeps the RAM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    /// It has none.
    No,
    /// In the first disk's qcow2 file.
    Internal,
    External(PathBuf),
    /// In files that libvirt does not know about: to libvirt the snapshot has disks only.
    Mapped(MappedMemory),
}

/// The RAM of a guest that had it in a file, and the state of its devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappedMemory {
    pub ram: PathBuf,
    pub devices: PathBuf,
}

/// One disk of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotDisk {
    pub target: String,
    /// How the snapshot holds it; `None` if it was left out.
    pub kind: Option<SnapshotKind>,
    /// Whether a guest writes to it, so that a revert to the snapshot needs its content.
    pub is_written: bool,
    /// The file that the disk had when the snapshot was taken: the layer of an external one, and the file that holds an
    /// internal one. `None` if it is not a file.
    pub file: Option<PathBuf>,
    /// The format of that file.
    pub format: String,
    /// The file that the domain writes to after an external snapshot.
    pub overlay: Option<PathBuf>,
    /// What keeps an overlay from taking its place, as in "it is encrypted".
    #[serde(default)]
    pub obstacle: Option<String>,
    /// Whether the domain had it only while it ran, and does not start with it.
    #[serde(default)]
    pub is_running_only: bool,
    /// Whether the domain starts without its file if that is missing.
    #[serde(default)]
    pub is_optional: bool,
}

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
    /// The whole snapshot, with the domain as it was.
    pub document: Document,
    pub memory: Memory,
    /// Every disk that the domain had.
    pub disks: Vec<SnapshotDisk>,
    pub metadata: Option<Metadata>,
}

impl Snapshot {
    pub fn has_memory(&self) -> bool {
        self.memory != Memory::No
    }

    pub fn kind(&self) -> SnapshotKind {
        let is_internal =
            self.memory == Memory::Internal || self.disks.iter().any(|disk| disk.kind == Some(SnapshotKind::Internal));
        if is_internal { SnapshotKind::Internal } else { SnapshotKind::External }
    }

    /// Lists the disks that the snapshot holds.
    pub fn members(&self) -> impl Iterator<Item = &SnapshotDisk> {
        self.disks.iter().filter(|disk| disk.kind.is_some())
    }

    /// Lists the disks that a guest writes to and that the snapshot does not hold.
    pub fn left_out(&self) -> impl Iterator<Item = &SnapshotDisk> {
        self.disks.iter().filter(|disk| disk.is_written && disk.kind.is_none())
    }

    /// Lists the files that hold the snapshot's disks.
    pub fn layers(&self) -> Vec<DiskFile> {
        let layer = |disk: &SnapshotDisk| {
            Some(DiskFile { target: disk.target.clone(), file: disk.file.clone()?, format: disk.format.clone() })
        };
        self.members().filter_map(layer).collect()
    }

    /// Lists the overlays that the domain writes to afterwards.
    pub fn overlays(&self) -> impl Iterator<Item = &Path> {
        self.disks.iter().filter_map(|disk| disk.overlay.as_deref())
    }

    /// Lists the images that belong to the snapshot: layers and overlays.
    pub fn images(&self) -> Vec<Image> {
        let layers = self.layers().into_iter().map(|layer| layer.image());
        layers.chain(self.overlays().map(Image::qcow2)).collect()
    }

    /// Lists every file that belongs to the snapshot: layers, overlays and RAM.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let layers = self.members().filter_map(|disk| disk.file.as_deref());
        layers.chain(self.overlays()).chain(self.memory_files())
    }

    /// Says which of the snapshot's files is missing.
    pub fn missing_file(&self) -> Option<String> {
        if let Some(layer) = self.layers().into_iter().find(|layer| !layer.file.exists()) {
            return Some(format!("its layer `{}` is missing", layer.file.display()));
        }
        let memory = self.memory_files().find(|memory| !memory.exists())?;
        Some(format!("the file with its RAM, `{}`, is missing", memory.display()))
    }

    /// Returns the file that libvirt saved the RAM of an external snapshot to.
    pub fn memory_file(&self) -> Option<&Path> {
        match &self.memory {
            Memory::External(file) => Some(file),
            Memory::No | Memory::Internal | Memory::Mapped(_) => None,
        }
    }

    /// Lists the files that hold the RAM and what belongs to it.
    pub fn memory_files(&self) -> impl Iterator<Item = &Path> {
        let mapped = match &self.memory {
            Memory::Mapped(MappedMemory { ram, devices }) => Some([ram.as_path(), devices.as_path()]),
            Memory::No | Memory::Internal | Memory::External(_) => None,
        };
        self.memory_file().into_iter().chain(mapped.into_iter().flatten())
    }
}

/// One disk of a snapshot that is to be added to a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskState {
    /// The target in the guest, such as `vda`.
    pub target: String,
    /// The file that holds the state.
    pub layer: PathBuf,
    /// The file that the domain writes to from then on; it need not exist.
    pub overlay: PathBuf,
}

/// A snapshot to be added to a tree.
#[derive(Clone, Debug)]
pub struct SnapshotSpec {
    pub name: String,
    pub parent: Option<String>,
    pub comment: String,
    pub created: u64,
    /// Makes it the domain's current snapshot.
    pub current: bool,
    /// The domain's document; its disks are replaced by the layers and its metadata by `metadata`.
    pub document: Document,
    pub disks: Vec<DiskState>,
    pub memory: Memory,
    pub metadata: Metadata,
}

/// A snapshot to be taken of a domain.
#[derive(Clone, Debug)]
pub struct SnapshotRequest {
    pub name: String,
    pub comment: String,
    pub kind: SnapshotKind,
    /// The target of each disk to include, with the overlay if the snapshot is external. All other disks are left out.
    pub disks: Vec<(String, Option<PathBuf>)>,
    /// The file for the RAM of a running guest; an internal snapshot holds the RAM without one.
    pub memory: Option<PathBuf>,
    pub flags: SnapshotFlags,
}

/// The flags of `virDomainSnapshotCreateXML` that the caller chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotFlags {
    /// `DISK_ONLY`: the RAM of a running guest is left out.
    pub disk_only: bool,
    /// `ATOMIC`: all disks or none.
    pub atomic: bool,
    /// `QUIESCE`: the guest agent freezes the file systems meanwhile.
    pub quiesce: bool,
    /// `HALT`: the guest is stopped after the snapshot.
    pub halt: bool,
    /// `LIVE`: the guest runs on while its RAM is saved.
    pub live: bool,
    /// `REUSE_EXT`: the overlays exist already.
    pub reuse_external: bool,
}

/// The flags of `virDomainRevertToSnapshot`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RevertFlags {
    /// `RUNNING`: the guest runs afterwards, whatever the snapshot says.
    pub running: bool,
    /// `PAUSED`: the guest is paused afterwards, whatever the snapshot says.
    pub paused: bool,
    /// `FORCE`: also if the running QEMU does not fit.
    pub force: bool,
    /// `RESET_NVRAM`: the firmware's variables are reset from their template.
    pub reset_nvram: bool,
}
