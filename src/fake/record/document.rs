//! A domain's description, alone or in a snapshot's: this adapter's counterpart of libvirt's XML.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Because, Result};
use crate::fake::record::bytes::Bytes;
use crate::fake::record::disk::DiskRecord;
use crate::hypervisor::Document as HypervisorDocument;
use crate::hypervisor::{Boot, Disk, DiskChanges, DiskFile, DomainSpec, Firmware, Metadata, Network};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Document {
    pub name: String,
    pub uuid: String,
    description: String,
    pub memory: u64,
    pub cpus: u32,
    cpu_model: Option<String>,
    firmware: Firmware,
    pub network: Network,
    boot: Option<Boot>,
    extra_xml: String,
    /// Each disk by target.
    pub disks: BTreeMap<String, DiskRecord>,
    /// The drivers of host directories that the guest mounts.
    pub filesystems: Vec<String>,
    pub host_devices: bool,
    /// The format of the file with the firmware's variables.
    pub nvram: Option<String>,
    metadata: Option<StoredMetadata>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StoredMetadata {
    attributes: BTreeMap<String, String>,
    lines: Vec<String>,
    payload: Bytes,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            name: String::new(),
            uuid: String::new(),
            description: String::new(),
            memory: 512 << 20,
            cpus: 1,
            cpu_model: None,
            firmware: Firmware::Bios,
            network: Network::User,
            boot: None,
            extra_xml: String::new(),
            disks: BTreeMap::new(),
            filesystems: Vec::new(),
            host_devices: false,
            nvram: None,
            metadata: None,
        }
    }
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
            disks: BTreeMap::from([("vda".to_string(), DiskRecord::new(&spec.disk))]),
            filesystems: Vec::new(),
            host_devices: false,
            // libvirt's own choice if the domain does not say.
            nvram: (spec.firmware == Firmware::Uefi).then(|| "raw".to_string()),
            metadata: None,
        };
        document.set_metadata(Some(&spec.metadata));
        document
    }

    /// Fills in what a hand-written one leaves out.
    pub fn complete(&mut self, name: &str, uuid: &str) {
        for (field, value) in [(&mut self.name, name), (&mut self.uuid, uuid)] {
            if field.is_empty() {
                *field = value.to_string();
            }
        }
    }

    pub fn print(&self) -> Result<HypervisorDocument> {
        serde_json::to_string(self)
            .map(HypervisorDocument)
            .because(|| format!("cannot write the document of fake domain `{}`", self.name))
    }

    pub fn metadata(&self) -> Option<Metadata> {
        self.metadata.as_ref().map(|stored| Metadata {
            attributes: stored.attributes.clone(),
            lines: stored.lines.clone(),
            payload: stored.payload.0.clone(),
        })
    }

    pub fn set_metadata(&mut self, metadata: Option<&Metadata>) {
        self.metadata = metadata.map(|metadata| StoredMetadata {
            attributes: metadata.attributes.clone(),
            lines: metadata.lines.clone(),
            payload: Bytes(metadata.payload.clone()),
        });
    }

    pub fn describe_disks(&self) -> Vec<Disk> {
        self.disks.iter().map(|(target, disk)| disk.describe(target)).collect()
    }

    /// Gives a disk another file; says in libvirt's words why that is impossible.
    pub fn replace_disk(&mut self, target: &str, file: &Path, format: &str) -> Result<(), String> {
        let disk = self.disks.get_mut(target).ok_or_else(|| format!("no disk named '{target}'"))?;
        disk.replace(file, format);
        Ok(())
    }

    /// Changes the disks of a domain whose present document is `now`.
    pub fn change_disks(&mut self, changes: &DiskChanges, now: Option<&Self>) {
        for target in &changes.as_now {
            let now = now.and_then(|now| now.disks.get(target));
            if let (Some(disk), Some(now)) = (self.disks.get_mut(target), now) {
                *disk = now.clone();
            }
        }
        for DiskFile { target, file, format } in &changes.files {
            // One that is missing exists only in a running guest.
            let _ = self.replace_disk(target, file, format);
        }
    }

    /// Lists the files and devices behind its disks.
    pub fn places(&self) -> impl Iterator<Item = &Path> {
        self.disks.values().filter_map(DiskRecord::place)
    }

    /// Finds the disk on which the guest has `path`: below `/mnt/vdb` is the disk `vdb`, all else is on the first one.
    pub fn disk_of(&self, path: &str) -> Option<PathBuf> {
        let mounted = path.strip_prefix("/mnt/").and_then(|path| path.split_once('/'));
        let mounted = mounted.and_then(|(target, _)| self.disks.get(target)).filter(|disk| disk.is_written());
        let first = || self.disks.values().find(|disk| disk.is_written());
        mounted.or_else(first)?.place().map(Path::to_path_buf)
    }

    /// The disk that holds the guest's system.
    pub fn root_disk(&self) -> Option<PathBuf> {
        self.disk_of("/")
    }
}
