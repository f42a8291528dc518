//! The mark of a domain that is a transient clone of a machine.

use std::path::PathBuf;

use crate::clock::now;
use crate::hypervisor::Metadata;
use crate::tree::files::store::Store;

/// The purpose of a transient clone; its word is in the domain's name and metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Build,
    Fork,
    /// A fork that outlives the process that made it, until it is stopped.
    KeptFork,
    /// A fork that can go back to earlier states, and that keeps its RAM as a builder does.
    Work,
}

impl Purpose {
    pub fn word(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Fork | Self::KeptFork | Self::Work => "fork",
        }
    }

    /// Returns whether states of the guest are kept on the way.
    pub fn keeps_states(self) -> bool {
        matches!(self, Self::Build | Self::Work)
    }
}

const KEPT: &str = "kept";
/// When it was started, in seconds since the epoch.
const SINCE: &str = "since";
/// The user and the process that started it.
const BY: &str = "by";

/// Names the store that has the locks of a clone's owner.
const STORE: &str = "store";

pub fn clone_metadata(store: &Store, purpose: Purpose, machine: &str, node: &str) -> Metadata {
    let kept = (purpose == Purpose::KeptFork).then_some((KEPT, "yes"));
    let store = store.root().to_string_lossy();
    let (since, by) = (now().to_string(), format!("{}, process {}", user(), std::process::id()));
    let attributes =
        [("kind", purpose.word()), ("machine", machine), ("node", node), (STORE, &store), (SINCE, &since), (BY, &by)];
    let attributes = attributes.into_iter().chain(kept);
    let attributes = attributes.map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Metadata { attributes, ..Metadata::default() }
}

/// Returns the name of this process's user.
fn user() -> String {
    let number = rustix::process::geteuid().as_raw();
    let named = std::fs::read_to_string("/etc/passwd").unwrap_or_default().lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id == number.to_string()).then(|| name.to_string())
    });
    named.unwrap_or_else(|| format!("user {number}"))
}

/// A domain's metadata about a transient clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneMark {
    pub machine: String,
    pub node: String,
    pub is_fork: bool,
    /// Whether it outlives the process that made it.
    pub is_kept: bool,
    /// The store of that process.
    pub store: Option<PathBuf>,
    /// When it was started, in seconds since the epoch; older snaptrees did not say.
    pub since: Option<u64>,
    /// The user and the process that started it; older snaptrees did not say.
    pub by: Option<String>,
}

impl CloneMark {
    pub fn read(metadata: &Metadata) -> Option<Self> {
        let attribute = |name: &str| metadata.attributes.get(name).cloned();
        let kind = attribute("kind")?;
        let is_fork = kind == Purpose::Fork.word();
        if !is_fork && kind != Purpose::Build.word() {
            return None;
        }
        let is_kept = metadata.attributes.contains_key(KEPT);
        let (node, store) = (attribute("node").unwrap_or_default(), attribute(STORE).map(PathBuf::from));
        let (since, by) = (attribute(SINCE).and_then(|since| since.parse().ok()), attribute(BY));
        Some(Self { machine: attribute("machine")?, node, is_fork, is_kept, store, since, by })
    }
}
