//! A domain's description: this adapter's counterpart of domain XML.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::bytes::Bytes;
use crate::error::{Because, Result};
use crate::hypervisor::{Boot, DomainDocument, DomainSpec, Firmware, Metadata, Network};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub name: String,
    pub uuid: String,
    description: String,
    memory: u64,
    cpus: u32,
    cpu_model: Option<String>,
    firmware: Firmware,
    network: Network,
    boot: Option<Boot>,
    extra_xml: String,
    /// The file of each disk, by target.
    pub disks: BTreeMap<String, PathBuf>,
    metadata: Option<StoredMetadata>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredMetadata {
    attributes: BTreeMap<String, String>,
    lines: Vec<String>,
    payload: Bytes,
}

impl Document {
    pub fn new(spec: &DomainSpec) -> Self {
        let mut document = Self {
            name: spec.name.clone(),
            uuid: spec.uuid.clone(),
            description: spec.description.clone(),
            memory: spec.memory,
            cpus: spec.cpus,
            cpu_model: spec.cpu_model.clone(),
            firmware: spec.firmware,
            network: spec.network.clone(),
            boot: spec.boot.clone(),
            extra_xml: spec.extra_xml.clone(),
            disks: BTreeMap::from([("vda".to_string(), spec.disk.clone())]),
            metadata: None,
        };
        document.set_metadata(&spec.metadata);
        document
    }

    pub fn parse(document: &DomainDocument) -> Result<Self> {
        serde_json::from_str(&document.0).because(|| "cannot read a fake domain's document".to_string())
    }

    pub fn print(&self) -> Result<DomainDocument> {
        serde_json::to_string(self)
            .map(DomainDocument)
            .because(|| format!("cannot write the document of fake domain `{}`", self.name))
    }

    pub fn metadata(&self) -> Option<Metadata> {
        self.metadata.as_ref().map(|stored| Metadata {
            attributes: stored.attributes.clone(),
            lines: stored.lines.clone(),
            payload: stored.payload.0.clone(),
        })
    }

    pub fn set_metadata(&mut self, metadata: &Metadata) {
        self.metadata = Some(StoredMetadata {
            attributes: metadata.attributes.clone(),
            lines: metadata.lines.clone(),
            payload: Bytes(metadata.payload.clone()),
        });
    }

    /// The disk that holds the guest's files: the first one.
    pub fn root_disk(&self) -> Option<&Path> {
        self.disks.values().next().map(PathBuf::as_path)
    }
}
