//! Everything that the fake hypervisor knows, as it is written to its file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::bytes::Bytes;
use super::document::Document;

/// The whole state. Unknown keys are errors, so that a slip in a hand-written file shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct State {
    /// What guests answer; the first match wins.
    pub answers: Vec<Answer>,
    pub domains: BTreeMap<String, DomainRecord>,
    pub layers: BTreeMap<PathBuf, Layer>,
    /// Every command that ran in any guest.
    pub executed: Vec<Executed>,
    /// The name of every clone that was started.
    pub started: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DomainRecord {
    pub active: bool,
    pub persistent: bool,
    pub document: Document,
    #[serde(default)]
    pub current: Option<String>,
    #[serde(default)]
    pub snapshots: BTreeMap<String, SnapshotRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SnapshotRecord {
    pub parent: Option<String>,
    pub comment: String,
    pub created: u64,
    pub document: Document,
    pub overlays: Vec<PathBuf>,
}

/// The files that were written in a guest while it ran on this overlay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Layer {
    pub backing: Option<PathBuf>,
    /// Whether a real file stands for the layer: then the layer is lost with it.
    pub has_file: bool,
    #[serde(default)]
    pub files: BTreeMap<String, FileRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileRecord {
    pub content: Bytes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Executed {
    pub domain: String,
    /// The snapshot that the domain's disk grew from, as `machine/snapshot`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    pub command: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stdin: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}
