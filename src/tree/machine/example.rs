//! A machine for tests of what needs no hypervisor.

use std::path::PathBuf;

use crate::hypervisor::{Document, Domain, DomainDetails, DomainState, Source};
use crate::name::MachineName;
use crate::tree::machine::machine::Machine;
use crate::tree::record::example::{disk, snapshot};
use crate::tree::record::node::Node;

/// Makes a machine with these snapshots: each with its parent.
pub fn machine(snapshots: &[(&str, Option<&str>)]) -> Machine {
    Machine {
        name: MachineName::new("web").unwrap(),
        details: DomainDetails {
            domain: Domain { name: "web".into(), uuid: "u".into(), state: DomainState::Shutoff, is_persistent: true },
            document: Document(String::new()),
            memory: 1 << 30,
            cpus: 1,
            disks: vec![disk("vda", Source::File("/vm/web.qcow2".into()))],
            next_disks: vec![disk("vda", Source::File("/vm/web.qcow2".into()))],
            filesystems: Vec::new(),
            has_host_devices: false,
            nvram: None,
            has_managed_save: false,
            metadata: None,
        },
        is_ours: false,
        directory: PathBuf::from("/nosuch/web"),
        nodes: snapshots.iter().map(|(name, parent)| Node::new(snapshot(name, *parent))).collect(),
        index: Default::default(),
    }
}
