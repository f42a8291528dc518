//! A domain's disk, as short in JSON as possible: its file's path, unless there is more to say.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::hypervisor::{Disk, Source};

const DISK: &str = "disk";
const QCOW2: &str = "qcow2";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct DiskRecord {
    pub device: String,
    pub source: Source,
    pub format: String,
    pub read_only: bool,
    pub shareable: bool,
    pub transient: bool,
    /// How it is encrypted.
    pub encryption: Option<String>,
    pub snapshot: Option<String>,
    /// Whether a block job is running on it.
    pub block_job: bool,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    File(PathBuf),
    Whole(Box<Whole>),
}

/// One of the sources, or none for an empty drive.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    volume: Option<Volume>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    other: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    read_only: Option<bool>,
    #[serde(default, skip_serializing_if = "is_false")]
    shareable: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    transient: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encryption: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    block_job: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Volume {
    pool: String,
    volume: String,
}

impl DiskRecord {
    pub fn new(file: &Path) -> Self {
        Self {
            device: DISK.to_string(),
            source: Source::File(file.to_path_buf()),
            format: QCOW2.to_string(),
            read_only: false,
            shareable: false,
            transient: false,
            encryption: None,
            snapshot: None,
            block_job: false,
        }
    }

    /// The path under which the state knows the content.
    pub fn place(&self) -> Option<&Path> {
        match &self.source {
            Source::File(path) | Source::Block(path) => Some(path),
            _ => None,
        }
    }

    /// Gives it another file.
    pub fn replace(&mut self, file: &Path, format: &str) {
        self.source = Source::File(file.to_path_buf());
        self.format = format.to_string();
    }

    /// Says whether a guest writes to it, whatever its policy for snapshots is.
    pub fn is_written(&self) -> bool {
        matches!(self.device.as_str(), "disk" | "lun") && !self.read_only && self.source != Source::None
    }

    /// What libvirt's adapter says about an encrypted disk.
    pub fn obstacle(&self) -> Option<String> {
        let encryption = self.encryption.as_ref()?;
        Some(format!("it is encrypted ({encryption}), and its overlay would not be"))
    }

    pub fn describe(&self, target: &str) -> Disk {
        Disk {
            target: target.to_string(),
            device: self.device.clone(),
            source: self.source.clone(),
            format: self.format.clone(),
            is_read_only: self.read_only,
            is_shareable: self.shareable,
            is_transient: self.transient,
            obstacle: self.obstacle(),
            snapshot: self.snapshot.clone(),
            has_block_job: self.block_job,
            // The files of a fake machine's media need not exist.
            is_optional: self.device != DISK,
        }
    }
}

impl From<Stored> for DiskRecord {
    fn from(stored: Stored) -> Self {
        let whole = match stored {
            Stored::File(file) => return Self::new(&file),
            Stored::Whole(whole) => *whole,
        };
        let device = whole.device.unwrap_or_else(|| DISK.to_string());
        let is_cdrom = device == "cdrom";
        let source = [
            whole.file.map(Source::File),
            whole.block.map(Source::Block),
            whole.volume.map(|it| Source::Volume { pool: it.pool, volume: it.volume }),
            whole.network.map(Source::Network),
            whole.other.map(Source::Other),
        ];
        Self {
            source: source.into_iter().flatten().next().unwrap_or(Source::None),
            format: whole.format.unwrap_or_else(|| if is_cdrom { "raw" } else { QCOW2 }.to_string()),
            read_only: whole.read_only.unwrap_or(is_cdrom),
            shareable: whole.shareable,
            transient: whole.transient,
            encryption: whole.encryption,
            snapshot: whole.snapshot,
            block_job: whole.block_job,
            device,
        }
    }
}

impl From<DiskRecord> for Stored {
    fn from(disk: DiskRecord) -> Self {
        match &disk.source {
            Source::File(file) if disk == DiskRecord::new(file) => return Stored::File(file.clone()),
            _ => {}
        }
        let mut whole = Whole {
            device: Some(disk.device),
            format: Some(disk.format),
            read_only: Some(disk.read_only),
            shareable: disk.shareable,
            transient: disk.transient,
            encryption: disk.encryption,
            snapshot: disk.snapshot,
            block_job: disk.block_job,
            ..Whole::default()
        };
        match disk.source {
            Source::File(file) => whole.file = Some(file),
            Source::Block(file) => whole.block = Some(file),
            Source::Volume { pool, volume } => whole.volume = Some(Volume { pool, volume }),
            Source::Network(protocol) => whole.network = Some(protocol),
            Source::Other(word) => whole.other = Some(word),
            Source::None => {}
        }
        Stored::Whole(Box::new(whole))
    }
}
