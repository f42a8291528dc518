//! Disks and snapshots for tests of what needs no hypervisor.

use crate::hypervisor::{Disk, Document, Memory, Snapshot, SnapshotDisk, SnapshotKind, Source};

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
