//! Domains as plain data.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A domain's full description in the adapter's own language (domain XML for libvirt), opaque to everyone else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainDocument(pub String);

/// What snaptree remembers inside a domain's own `<metadata>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Short facts, readable in the XML.
    pub attributes: BTreeMap<String, String>,
    /// One readable line per operation, for whoever looks with virsh.
    pub lines: Vec<String>,
    /// Everything else; stored compressed.
    pub payload: Vec<u8>,
}

/// A domain that exists.
#[derive(Clone, Debug)]
pub struct Domain {
    pub name: String,
    pub uuid: String,
    pub is_active: bool,
    pub is_persistent: bool,
    /// Only filled by [`Hypervisor::domain`](super::Hypervisor::domain).
    pub document: Option<DomainDocument>,
    /// The files of the domain's disks, only filled with the document.
    pub disks: Vec<PathBuf>,
    /// Only filled with the document.
    pub metadata: Option<Metadata>,
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
pub struct Clone {
    pub name: String,
    pub uuid: String,
    pub document: DomainDocument,
    /// The file for each disk target that gets one of its own, such as `vda`.
    pub disks: BTreeMap<String, PathBuf>,
    pub metadata: Metadata,
}

/// What executes guest code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Accelerator {
    Kvm,
    /// QEMU's software emulation, with the reason why KVM is not used.
    Tcg(String),
}
