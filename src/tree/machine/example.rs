//! A machine for tests of what needs no hypervisor.

use std::path::PathBuf;

use crate::hypervisor::{
    Disk, Document, Domain, DomainDetails, DomainState, Memory, Snapshot, SnapshotDisk, SnapshotKind, Source,
};
use crate::name::MachineName;
use crate::tree::machine::seen::Machine;
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

pub fn disk(target: &str, source: Source) -> Disk {
    Disk { target: target.into(), device: "disk".into(), source, format: "qcow2".into(), ..Disk::default() }
}

/// Makes an external snapshot of a machine that was shut off, with a layer named after it.
pub fn snapshot(name: &str, parent: Option<&str>) -> Snapshot {
    Snapshot {
        name: name.into(),
        parent: parent.map(str::to_string),
        comment: String::new(),
        created: 0,
        state: "shutoff".into(),
        is_current: false,
        document: Document(String::new()),
        memory: Memory::No,
        disks: vec![SnapshotDisk {
            target: "vda".into(),
            kind: Some(SnapshotKind::External),
            is_written: true,
            file: Some(format!("/vm/{name}.qcow2").into()),
            format: "qcow2".into(),
            overlay: Some(format!("/vm/{name}.next").into()),
            obstacle: None,
            is_running_only: false,
            is_optional: false,
        }],
        metadata: None,
    }
}
