//! Domains as plain data.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::live::{Frozen, Ram};

/// The full description of a domain, or of a snapshot with the domain in it, in the adapter's own language (libvirt's
/// XML), opaque to all other code. In the place of a domain's document, a snapshot's stands for the domain as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document(pub String);

/// libvirt's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub release: u32,
}

impl Version {
    pub const fn new(major: u32, minor: u32, release: u32) -> Self {
        Self { major, minor, release }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.release)
    }
}

/// What snaptree remembers inside a domain's own `<metadata>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Short facts, readable in the XML.
    pub attributes: BTreeMap<String, String>,
    /// One readable line per operation, for virsh users.
    pub lines: Vec<String>,
    /// Everything else; stored compressed.
    pub payload: Vec<u8>,
}

/// What a domain is doing (`virDomainState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DomainState {
    Running,
    Blocked,
    Paused,
    Shutdown,
    Shutoff,
    Crashed,
    Pmsuspended,
}

impl DomainState {
    /// Returns the word that libvirt's snapshots have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Blocked => "blocked",
            Self::Paused => "paused",
            Self::Shutdown => "shutdown",
            Self::Shutoff => "shutoff",
            Self::Crashed => "crashed",
            Self::Pmsuspended => "pmsuspended",
        }
    }

    /// Says whether QEMU runs for the domain (`virDomainIsActive`).
    pub fn is_active(self) -> bool {
        !matches!(self, Self::Shutoff | Self::Crashed)
    }
}

/// A domain that exists.
#[derive(Clone, Debug)]
pub struct Domain {
    pub name: String,
    pub uuid: String,
    pub state: DomainState,
    pub is_persistent: bool,
}

/// A domain that exists, with everything that is known about it.
#[derive(Clone, Debug)]
pub struct DomainDetails {
    pub domain: Domain,
    /// As it will be at its next start.
    pub document: Document,
    /// In bytes, as it runs.
    pub memory: u64,
    pub cpus: u32,
    /// As it runs, or as it will start if it is shut off.
    pub disks: Vec<Disk>,
    /// As they will be at its next start.
    pub next_disks: Vec<Disk>,
    /// The drivers of host directories that the guest mounts, such as `9p` or `virtiofs`.
    pub filesystems: Vec<String>,
    /// Whether it has devices of the host (`<hostdev>`).
    pub has_host_devices: bool,
    /// The format of the file with the firmware's variables, if it boots by UEFI.
    pub nvram: Option<String>,
    /// Whether `virDomainManagedSave` has saved its RAM to disk.
    pub has_managed_save: bool,
    /// What snaptree remembers in it.
    pub metadata: Option<Metadata>,
}

/// A disk of a domain, as its document has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Its name in the guest, such as `vda`.
    pub target: String,
    /// `disk`, `cdrom`, `floppy` or `lun`.
    pub device: String,
    pub source: Source,
    /// The driver's `type`: `qcow2`, `raw`, ...
    pub format: String,
    pub is_read_only: bool,
    /// Other domains may write to it at the same time (`<shareable/>`).
    pub is_shareable: bool,
    /// Its writes are discarded when the guest stops (`<transient/>`).
    pub is_transient: bool,
    /// What keeps an overlay from taking its place, as in "it is encrypted".
    pub obstacle: Option<String>,
    /// Its attribute `snapshot='...'`, if it has one: `no`, `internal`, `external` or `manual`.
    pub snapshot: Option<String>,
    /// Whether a block job is running on it (`virDomainGetBlockJobInfo`).
    pub has_block_job: bool,
    /// Whether the domain starts without its file if that is missing (`startupPolicy`).
    pub is_optional: bool,
}

/// Where a disk's content is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    File(PathBuf),
    Block(PathBuf),
    /// A volume of one of libvirt's pools.
    Volume {
        pool: String,
        volume: String,
    },
    /// Over the network, by this protocol.
    Network(String),
    /// Anything else, by libvirt's name for it.
    Other(String),
    /// An empty drive.
    #[default]
    None,
}

impl Disk {
    pub fn file(&self) -> Option<&Path> {
        match &self.source {
            Source::File(file) => Some(file),
            _ => None,
        }
    }

    pub fn image(&self) -> Option<Image> {
        self.file().map(|file| Image::new(file, &self.format))
    }

    /// Returns its file, if it has one.
    pub fn with_file(&self) -> Option<DiskFile> {
        let file = self.file()?.to_path_buf();
        Some(DiskFile { target: self.target.clone(), file, format: self.format.clone() })
    }

    /// Returns its file if that is missing and the domain does not start without it.
    pub fn lost_file(&self) -> Option<&Path> {
        self.file().filter(|file| !self.is_optional && !file.exists())
    }

    /// Says whether a guest may write to it.
    pub fn is_written(&self) -> bool {
        matches!(self.device.as_str(), "disk" | "lun") && !self.is_read_only && self.source != Source::None
    }

    /// Says whether a snapshot includes it by default.
    pub fn takes_part(&self) -> bool {
        self.is_written() && self.snapshot.as_deref() != Some("no") && self.left_out().is_none()
    }

    /// Says why a snapshot leaves out a disk that a guest writes to, unless its domain asks for that.
    pub fn left_out(&self) -> Option<&'static str> {
        let by_hand = (self.snapshot.as_deref() == Some("manual")).then_some("its snapshots are taken by hand");
        self.is_used_otherwise().or(by_hand).filter(|_| self.is_written())
    }

    /// Says why its content is not this guest's alone, or not permanent.
    pub fn is_used_otherwise(&self) -> Option<&'static str> {
        match (self.is_shareable, self.is_transient) {
            (true, _) => Some("other domains may write to it (`<shareable/>`)"),
            (false, true) => Some("what is written to it is discarded when the guest stops (`<transient/>`)"),
            (false, false) => None,
        }
    }
}

/// The file of a disk, now or in the future.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFile {
    pub target: String,
    pub file: PathBuf,
    /// `qcow2`, `raw`, ...
    pub format: String,
}

/// How the disks in a document change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskChanges {
    /// These disks get other files, and otherwise stay as the document says. A disk that the document does not have
    /// exists only in a running guest.
    pub files: Vec<DiskFile>,
    /// The targets of the disks that keep what they have now, whatever the document says.
    pub as_now: Vec<String>,
}

impl From<Vec<DiskFile>> for DiskChanges {
    fn from(files: Vec<DiskFile>) -> Self {
        Self { files, as_now: Vec::new() }
    }
}

impl<const N: usize> From<[DiskFile; N]> for DiskChanges {
    fn from(files: [DiskFile; N]) -> Self {
        Vec::from(files).into()
    }
}

impl DiskFile {
    pub fn image(&self) -> Image {
        Image { file: self.file.clone(), format: self.format.clone() }
    }
}

/// A disk image and its format, which the caller states. It is never guessed from the content: a guest can write that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Image {
    pub file: PathBuf,
    /// QEMU's name of it: `qcow2`, `raw`, ...
    pub format: String,
}

impl Image {
    pub fn new(file: impl Into<PathBuf>, format: impl Into<String>) -> Self {
        Self { file: file.into(), format: format.into() }
    }

    /// An image of the only format that snaptree makes.
    pub fn qcow2(file: impl Into<PathBuf>) -> Self {
        Self::new(file, "qcow2")
    }
}

/// How to start a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Its processors wait for `resume`.
    pub paused: bool,
    /// The firmware's variables are reset from their template.
    pub reset_nvram: bool,
}

/// How a machine's firmware starts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    #[default]
    Bios,
    Uefi,
}

/// What a machine's network card is plugged into.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// QEMU's user networking: outgoing connections only, no privilege needed.
    #[default]
    User,
    /// No card.
    None,
    /// One of libvirt's networks, by name.
    Network(String),
    /// A bridge of the host, by name.
    Bridge(String),
}

/// A kernel that QEMU loads itself, without a boot loader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    pub cmdline: String,
}

/// A machine's domain before it exists.
#[derive(Clone, Debug)]
pub struct DomainSpec {
    pub name: String,
    pub uuid: String,
    pub description: String,
    /// In bytes.
    pub memory: u64,
    pub cpus: u32,
    pub cpu_model: Option<String>,
    pub firmware: Firmware,
    pub network: Network,
    pub boot: Option<Boot>,
    /// The disk's file, a qcow2 image.
    pub disk: PathBuf,
    /// XML for the domain's `<devices>`, as the user wrote it.
    pub extra_xml: String,
    pub metadata: Metadata,
}

/// A transient domain to be made from another one's document.
#[derive(Clone, Debug)]
pub struct CloneSpec {
    pub name: String,
    pub uuid: String,
    pub document: Document,
    /// The file for each disk target that gets one of its own, such as `vda`.
    pub disks: BTreeMap<String, PathBuf>,
    /// The file for its firmware's variables, created if it has any; see [`CloneSpec::own_files`].
    pub nvram: PathBuf,
    pub ram: Ram,
    /// The state that its guest resumes from; without one it boots.
    pub from: Option<Frozen>,
    /// Whether its processors wait for `resume`.
    pub paused: bool,
    pub metadata: Metadata,
}

impl CloneSpec {
    /// Lists the files besides disks and RAM that a clone with this `nvram` may create: its firmware's variables, and
    /// what its guest's kernel leaves when it crashes. They are deleted with the clone.
    pub fn own_files(nvram: &Path) -> [PathBuf; 2] {
        [nvram.to_path_buf(), nvram.with_extension("pstore")]
    }
}

/// The outcome of saving a guest's RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// It is in the file, and the domain has stopped.
    Written,
    /// The guest has not run since it was last saved, so its RAM is what it was then.
    AsBefore,
}

/// What executes guest code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Accelerator {
    Kvm,
    /// QEMU's software emulation, with the reason why KVM is not used.
    Tcg(String),
}
