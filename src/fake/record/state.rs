//! Everything that the fake hypervisor knows, as it is written to its file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::fake::record::answer::Answer;
use crate::fake::record::bytes::Bytes;
use crate::fake::record::document::Document;
use crate::fake::record::file::FileRecord;
use crate::hypervisor::{DomainState, Memory, SnapshotKind, Version};

/// The whole state. Unknown keys are errors, so that a slip in a hand-written file shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// libvirt's.
    pub version: StoredVersion,
    /// What the clock shows when a snapshot is taken; the system's own time without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<u64>,
    /// What guests answer; the first match wins.
    pub answers: Vec<Answer>,
    pub domains: BTreeMap<String, DomainRecord>,
    pub layers: BTreeMap<PathBuf, Layer>,
    /// The files with the RAM of guests.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub memories: BTreeMap<PathBuf, MemoryFile>,
    /// What other connections use, by URI.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub neighbours: BTreeMap<String, NeighbourRecord>,
    /// Every command that ran in any guest.
    pub executed: Vec<Executed>,
    /// The name of every domain that was started, in order.
    pub started: Vec<String>,
    /// The name of every domain whose guest was resumed from a frozen state, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resumed: Vec<String>,
    /// The name of every domain whose guest's connections were reset, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reset: Vec<String>,
}

/// The files of each domain of another connection, or why it does not tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NeighbourRecord {
    Domains(BTreeMap<String, Vec<PathBuf>>),
    Silent(String),
}

/// `11.3.0`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StoredVersion(pub Version);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainRecord {
    #[serde(default = "shutoff")]
    pub state: DomainState,
    #[serde(default = "yes")]
    pub persistent: bool,
    /// As it will be at its next start.
    pub document: Document,
    /// As it runs, if that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Document>,
    /// The RAM of a guest that runs or was saved to disk by a managed save.
    #[serde(default, skip_serializing_if = "Ram::is_empty")]
    pub ram: Ram,
    #[serde(default, skip_serializing_if = "is_false")]
    pub managed_save: bool,
    #[serde(default)]
    pub current: Option<String>,
    #[serde(default)]
    pub snapshots: BTreeMap<String, SnapshotRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SnapshotRecord {
    pub parent: Option<String>,
    pub comment: String,
    pub created: u64,
    /// libvirt's word.
    pub state: String,
    pub memory: Memory,
    /// The disks that it holds, by target.
    pub disks: BTreeMap<String, Member>,
    /// The domain as it was; in a hand-written file without one, the domain as it is.
    pub document: Document,
}

/// How a snapshot holds a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredMember", into = "StoredMember")]
pub struct Member {
    pub kind: SnapshotKind,
    pub overlay: Option<PathBuf>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum StoredMember {
    Kind(SnapshotKind),
    Overlay(OverlayMember),
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverlayMember {
    overlay: PathBuf,
}

/// The files that were written in a guest while it ran on this overlay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Layer {
    pub backing: Option<PathBuf>,
    /// Whether its header cannot be read.
    #[serde(skip_serializing_if = "is_false")]
    pub damaged: bool,
    /// Whether the layer has a real file: then it is lost with that file.
    pub has_file: bool,
    pub files: Files,
    /// What internal snapshots hold, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub snapshots: BTreeMap<String, InternalSnapshot>,
}

pub type Files = BTreeMap<String, FileRecord>;

/// What a layer held, and the guest's RAM in the layer that has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InternalSnapshot {
    pub files: Files,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ram: Option<Ram>,
}

/// The guest's files that are on no disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ram(pub Files);

/// A guest's RAM in a file, with the domain as it ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryFile {
    /// Whether it has a real file: then the RAM is lost with that file.
    #[serde(default)]
    pub has_file: bool,
    pub document: Document,
    #[serde(default)]
    pub ram: Ram,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Executed {
    pub domain: String,
    /// The snapshot that the domain's disk grew from, as `machine/snapshot`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    pub command: String,
    #[serde(default, skip_serializing_if = "Bytes::is_empty")]
    pub stdin: Bytes,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl State {
    /// Fills in what a hand-written file may leave out because it is stated elsewhere.
    pub fn complete(&mut self) {
        for (name, record) in &mut self.domains {
            record.document.complete(name, &uuid_for(name));
            for snapshot in record.snapshots.values_mut() {
                if snapshot.document == Document::default() {
                    snapshot.document = record.document.clone();
                }
                snapshot.document.complete(name, &record.document.uuid);
                if let Memory::External(file) = &snapshot.memory
                    && file.exists()
                {
                    let unknown =
                        || MemoryFile { has_file: true, document: snapshot.document.clone(), ram: Ram::default() };
                    self.memories.entry(file.clone()).or_insert_with(unknown);
                }
            }
        }
    }

    /// What the clock shows, in seconds since the epoch.
    pub fn clock(&self) -> u64 {
        let system = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.now.unwrap_or_else(system)
    }

    pub fn record(&self, domain: &str) -> Result<&DomainRecord> {
        self.domains.get(domain).ok_or_else(|| not_found(domain))
    }

    pub fn record_mut(&mut self, domain: &str) -> Result<&mut DomainRecord> {
        self.domains.get_mut(domain).ok_or_else(|| not_found(domain))
    }
}

fn uuid_for(name: &str) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

fn not_found(name: &str) -> Error {
    Error::failed(format!("domain `{name}` not found"))
}

impl DomainRecord {
    pub fn is_active(&self) -> bool {
        self.state.is_active()
    }

    /// The document that it runs with now, or would.
    pub fn now(&self) -> &Document {
        self.live.as_ref().unwrap_or(&self.document)
    }

    /// Changes what it will be without changing how it runs.
    pub fn set_document(&mut self, document: Document) {
        let old = std::mem::replace(&mut self.document, document);
        if self.is_active() && self.live.is_none() && old != self.document {
            self.live = Some(old);
        }
    }

    /// Changes both.
    pub fn change_documents(&mut self, mut change: impl FnMut(&mut Document)) {
        change(&mut self.document);
        self.live.iter_mut().for_each(change);
    }

    /// Begins a run, or the time after one, with this in the RAM.
    pub fn set_state(&mut self, state: DomainState, ram: Ram) {
        self.state = state;
        self.ram = ram;
        self.live = None;
    }

    pub fn snapshot(&self, name: &str) -> Result<&SnapshotRecord, String> {
        self.snapshots.get(name).ok_or_else(|| format!("no domain snapshot with matching name '{name}'"))
    }
}

impl Ram {
    /// Says whether a path is in the RAM rather than on a disk.
    pub fn holds(path: &str) -> bool {
        let path = Path::new(path);
        path.starts_with("/run") || path.starts_with("/dev/shm")
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Default for SnapshotRecord {
    fn default() -> Self {
        Self {
            parent: None,
            comment: String::new(),
            created: 0,
            state: DomainState::Shutoff.as_str().to_string(),
            memory: Memory::No,
            disks: BTreeMap::new(),
            document: Document::default(),
        }
    }
}

impl Default for StoredVersion {
    fn default() -> Self {
        Self(Version::new(11, 3, 0))
    }
}

impl TryFrom<String> for StoredVersion {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let numbers: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        match numbers.as_deref() {
            Ok([major, minor, release]) => Ok(Self(Version::new(*major, *minor, *release))),
            _ => Err(format!("`{text}` is no version such as 11.3.0")),
        }
    }
}

impl From<StoredVersion> for String {
    fn from(version: StoredVersion) -> Self {
        version.0.to_string()
    }
}

impl From<StoredMember> for Member {
    fn from(stored: StoredMember) -> Self {
        match stored {
            StoredMember::Kind(kind) => Self { kind, overlay: None },
            StoredMember::Overlay(member) => Self { kind: SnapshotKind::External, overlay: Some(member.overlay) },
        }
    }
}

impl From<Member> for StoredMember {
    fn from(member: Member) -> Self {
        match member.overlay {
            Some(overlay) => StoredMember::Overlay(OverlayMember { overlay }),
            None => StoredMember::Kind(member.kind),
        }
    }
}

fn shutoff() -> DomainState {
    DomainState::Shutoff
}

fn yes() -> bool {
    true
}

fn is_false(it: &bool) -> bool {
    !it
}
