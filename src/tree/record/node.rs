//! A snapshot in a machine's tree, with snaptree's record of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Because, Result};
use crate::hypervisor::{Fingerprint, Memory, Metadata, Snapshot};
use crate::tree::files::disk_usage::taken;
use crate::tree::record::definition::{Definition, Described};
use crate::tree::record::journal::Journal;
use crate::tree::record::key::SCHEMA;
use crate::tree::record::node_id::NodeId;
use crate::tree::record::ram::KeptRam;
use crate::tree::record::reason::Reason;

/// The metadata of a node about how it was built.
#[derive(Clone, Debug)]
pub struct Record {
    pub key: String,
    /// An id of this very build, since another build of the same key has another disk. Empty if none was recorded.
    pub build: String,
    /// None for a root. The tree may name another parent if this one was deleted.
    pub built_on: Option<Parent>,
    /// The machine's directory. Reverting to a snapshot gives its metadata to the domain.
    pub directory: PathBuf,
    /// Whether snaptree made the machine's domain.
    pub is_ours: bool,
    /// The schema, if another version of snaptree made the node; its key means nothing here.
    pub other_schema: Option<String>,
    /// What the RAM of a live snapshot is compatible with.
    pub fits: Fingerprint,
}

/// The parent of a build: a node as it was then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    #[serde(rename = "parent", default)]
    pub name: String,
    #[serde(rename = "parent_key")]
    pub key: String,
    #[serde(rename = "parent_build", default)]
    pub build: String,
}

/// A snapshot of a machine, with a record if snaptree made it.
#[derive(Clone, Debug)]
pub struct Node {
    pub snapshot: Snapshot,
    pub record: Option<Record>,
}

const KIND: &str = "kind";
const NODE: &str = "node";
const MACHINE: &str = "machine";
const DIRECTORY: &str = "directory";
/// Marks a node in the tree of a domain that snaptree did not create.
const GUEST: &str = "guest";
/// The prefix of the name of each thing that the RAM of a live snapshot is compatible with.
const FITS: &str = "fits.";

impl Node {
    pub fn new(snapshot: Snapshot) -> Self {
        let record = snapshot.metadata.as_ref().and_then(Record::read);
        Self { snapshot, record }
    }

    pub fn name(&self) -> &str {
        &self.snapshot.name
    }

    /// Returns the id of its build.
    pub fn build(&self) -> String {
        self.record.as_ref().map(|record| record.build.clone()).unwrap_or_default()
    }

    pub fn ram(&self) -> KeptRam {
        let fits = self.record.as_ref().map(|record| record.fits.clone()).unwrap_or_default();
        KeptRam { memory: self.snapshot.memory.clone(), fits }
    }

    /// Returns whether it has RAM.
    pub fn is_live(&self) -> bool {
        self.snapshot.memory != Memory::No
    }

    /// Returns the disk usage of the node's own files on the host, in bytes.
    pub fn size(&self) -> u64 {
        let layers = self.snapshot.layers().into_iter().filter_map(|layer| taken(&layer.file)).sum::<u64>();
        layers + self.snapshot.memory_files().filter_map(taken).sum::<u64>()
    }

    /// Reads the operations that made this node.
    pub fn journal(&self) -> Result<Journal> {
        match &self.snapshot.metadata {
            Some(metadata) => Journal::decode(&metadata.payload),
            None => Ok(Journal::default()),
        }
    }

    /// Reads the machine's definition as it was when this root was made.
    pub fn definition(&self) -> Result<Definition> {
        Ok(self.described()?.definition)
    }

    /// Returns the expression for this root's image in a script, if it was recorded.
    pub fn image_expression(&self) -> Option<String> {
        self.described().ok()?.image_expression
    }

    fn described(&self) -> Result<Described> {
        let payload = self.snapshot.metadata.as_ref().map(|metadata| metadata.payload.as_slice());
        serde_json::from_slice(payload.unwrap_or_default()).because(|| "the definition is damaged".to_string())
    }
}

impl Record {
    fn read(metadata: &Metadata) -> Option<Self> {
        let attribute = |name: &str| metadata.attributes.get(name).cloned();
        let schema = attribute("schema")?;
        if attribute(KIND)? != NODE {
            return None;
        }
        let other_schema = (schema != SCHEMA.to_string()).then_some(schema);
        let directory = attribute(DIRECTORY)?.into();
        let parent = attribute("parent").zip(attribute("parent-key"));
        let of_parent = || attribute("parent-build").unwrap_or_default();
        let built_on = parent.map(|(name, key)| Parent { name, key, build: of_parent() });
        let is_ours = attribute(GUEST).is_none();
        let fact = |(name, value): (&String, &String)| Some((name.strip_prefix(FITS)?.to_string(), value.clone()));
        let fits = metadata.attributes.iter().filter_map(fact).collect();
        let (key, build) = (attribute("key")?, attribute("build").unwrap_or_default());
        Some(Self { key, build, built_on, directory, is_ours, other_schema, fits })
    }

    /// Returns the record of a node that is being made.
    pub fn of(node: &NodeId, built_on: Option<Parent>, directory: PathBuf, is_ours: bool) -> Self {
        let (key, build, fits) = (node.key.clone(), node.build.clone(), Fingerprint::new());
        Self { key, build, built_on, directory, is_ours, other_schema: None, fits }
    }

    /// Returns whether the node was built on `parent`.
    pub fn fits(&self, parent: &NodeId) -> bool {
        self.other_schema.is_none() && self.built_on.as_ref().is_some_and(|built_on| built_on.is(parent))
    }

    /// Returns the reason to rebuild a node whose record has the format of another version of snaptree.
    pub fn incompatible(&self) -> Option<Reason> {
        self.other_schema.as_ref().map(|schema| {
            let ours = format!("this one has schema {SCHEMA}");
            Reason::Changed(format!("another version of snaptree built it, with schema {schema}: {ours}"))
        })
    }

    /// Writes the record of a node with its journal or, for a root, its definition.
    pub fn write(&self, lines: Vec<String>, payload: Vec<u8>) -> Metadata {
        let mut attributes = BTreeMap::from([
            (KIND.to_string(), NODE.to_string()),
            ("schema".to_string(), SCHEMA.to_string()),
            ("key".to_string(), self.key.clone()),
            (DIRECTORY.to_string(), self.directory.to_string_lossy().into_owned()),
        ]);
        let mut set = |name: &str, value: &String| attributes.insert(name.to_string(), value.clone());
        set("build", &self.build);
        if let Some(parent) = &self.built_on {
            set("parent", &parent.name);
            set("parent-key", &parent.key);
            set("parent-build", &parent.build);
        }
        attributes.extend(self.fits.iter().map(|(name, value)| (format!("{FITS}{name}"), value.clone())));
        if !self.is_ours {
            attributes.insert(GUEST.to_string(), "yes".to_string());
        }
        Metadata { attributes, lines, payload }
    }
}

impl Parent {
    /// Returns whether it was this very build of the node.
    pub fn is(&self, node: &NodeId) -> bool {
        (&self.key, &self.build) == (&node.key, &node.build)
    }
}

impl From<&NodeId> for Parent {
    fn from(node: &NodeId) -> Self {
        Self { name: node.name.to_string(), key: node.key.clone(), build: node.build.clone() }
    }
}

/// Marks a domain as a machine of ours, whose files are in `directory`.
pub fn machine_metadata(directory: &Path) -> Metadata {
    let attributes = BTreeMap::from([
        (KIND.to_string(), MACHINE.to_string()),
        (DIRECTORY.to_string(), directory.to_string_lossy().into_owned()),
    ]);
    Metadata { attributes, ..Metadata::default() }
}

/// Returns the directory of a machine of ours; none for a domain that snaptree did not create.
pub fn machine_directory(metadata: Option<&Metadata>) -> Option<PathBuf> {
    let attributes = &metadata?.attributes;
    let is_ours = matches!(attributes.get(KIND)?.as_str(), MACHINE | NODE) && !attributes.contains_key(GUEST);
    is_ours.then(|| attributes.get(DIRECTORY).map(Into::into))?
}
