//! libvirt's rules for snapshots as metadata, applied to the state.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::fake::record::snapshot_document::{SnapshotDocument, domain_in};
use crate::fake::record::state::{DomainRecord, Member, SnapshotRecord, State};
use crate::hypervisor::Document as HypervisorDocument;
use crate::hypervisor::{DomainState, Memory, Snapshot, SnapshotDisk, SnapshotKind, SnapshotSpec};

impl State {
    pub fn list_snapshots(&self, domain: &str) -> Result<Vec<Snapshot>> {
        let record = self.record(domain)?;
        let is_current = |name: &str| record.current.as_deref() == Some(name);
        record.snapshots.iter().map(|(name, snapshot)| describe(name, snapshot, is_current(name))).collect()
    }

    pub fn define_snapshot(&mut self, domain: &str, spec: &SnapshotSpec) -> Result<()> {
        let record = self.record_mut(domain)?;
        let failed = |cause: String| put_failed(domain, &spec.name).cause(cause);
        let mut document = domain_in(&spec.document)?;
        document.set_metadata(Some(&spec.metadata));
        for disk in &spec.disks {
            document.replace_disk(&disk.target, &disk.layer, "qcow2").map_err(failed)?;
        }
        let member =
            |overlay: &std::path::PathBuf| Member { kind: SnapshotKind::External, overlay: Some(overlay.clone()) };
        let snapshot = SnapshotRecord {
            parent: spec.parent.clone(),
            comment: spec.comment.clone(),
            created: spec.created,
            disks: spec.disks.iter().map(|disk| (disk.target.clone(), member(&disk.overlay))).collect(),
            state: if matches!(spec.memory, Memory::External(_)) { DomainState::Running } else { DomainState::Shutoff }
                .as_str()
                .to_string(),
            memory: spec.memory.clone(),
            document,
        };
        put(record, &spec.name, snapshot, spec.current).map_err(failed)
    }

    pub fn redefine_snapshot(
        &mut self,
        domain: &str,
        document: &HypervisorDocument,
        parent: Option<&str>,
        current: bool,
    ) -> Result<()> {
        let record = self.record_mut(domain)?;
        let SnapshotDocument { name, mut snapshot } = SnapshotDocument::parse(document)?;
        let failed = |cause: String| put_failed(domain, &name).cause(cause);
        let uuid = &record.document.uuid;
        if snapshot.document.uuid != *uuid {
            return Err(failed(format!("definition for snapshot {name} must use uuid {uuid}")));
        }
        snapshot.parent = parent.map(str::to_string);
        if current {
            for (target, member) in &mut snapshot.disks {
                let present = record.document.disks.get(target).and_then(|disk| disk.place());
                let is_layer = snapshot.document.disks.get(target).and_then(|disk| disk.place()) == present;
                if let (Some(overlay), Some(present), false) = (&mut member.overlay, present, is_layer) {
                    *overlay = present.to_path_buf();
                }
            }
        }
        put(record, &name, snapshot, current).map_err(failed)
    }

    pub fn delete_snapshot(&mut self, domain: &str, name: &str) -> Result<()> {
        let record = self.record_mut(domain)?;
        record.snapshot(name).map_err(|cause| delete_failed(domain, name).cause(cause))?;
        take_out(record, name);
        Ok(())
    }
}

pub fn read(document: &HypervisorDocument) -> Result<Snapshot> {
    let read = SnapshotDocument::parse(document)?;
    let snapshot = describe(&read.name, &read.snapshot, false)?;
    Ok(Snapshot { document: document.clone(), ..snapshot })
}

pub fn with_comment(document: &HypervisorDocument, comment: &str) -> Result<HypervisorDocument> {
    let SnapshotDocument { name, mut snapshot } = SnapshotDocument::parse(document)?;
    snapshot.comment = comment.to_string();
    SnapshotDocument::print(&name, &snapshot)
}

pub fn delete_failed(domain: &str, name: &str) -> Error {
    Error::failed(format!("cannot delete snapshot `{name}` of `{domain}`"))
}

fn put_failed(domain: &str, name: &str) -> Error {
    Error::failed(format!("cannot put snapshot `{name}` into the tree of `{domain}`"))
}

/// Puts a snapshot into a domain's tree; says in libvirt's words why it cannot be there.
fn put(record: &mut DomainRecord, name: &str, snapshot: SnapshotRecord, current: bool) -> Result<(), String> {
    if !record.persistent {
        return Err("cannot redefine a snapshot of a transient domain".to_string());
    }
    check_parent(&record.snapshots, name, snapshot.parent.as_deref())?;
    if let Some(other) = record.snapshots.get(name) {
        let is_disk_only = |snapshot: &SnapshotRecord| snapshot.state == DISK_SNAPSHOT;
        if snapshot.is_online() != other.is_online() {
            return Err(format!("cannot change between online and offline snapshot state in snapshot {name}"));
        }
        if is_disk_only(&snapshot) != is_disk_only(other) {
            return Err(format!("cannot change between disk only and full system snapshots in snapshot {name}"));
        }
    }
    record.snapshots.insert(name.to_string(), snapshot);
    if current {
        record.current = Some(name.to_string());
    }
    Ok(())
}

fn take_out(record: &mut DomainRecord, name: &str) {
    let Some(deleted) = record.snapshots.remove(name) else { return };
    for child in record.snapshots.values_mut().filter(|child| child.parent.as_deref() == Some(name)) {
        child.parent = deleted.parent.clone();
    }
    if record.current.as_deref() == Some(name) {
        record.current = deleted.parent;
    }
}

/// Says in libvirt's words why a snapshot cannot have this parent.
fn check_parent(
    snapshots: &BTreeMap<String, SnapshotRecord>,
    name: &str,
    parent: Option<&str>,
) -> std::result::Result<(), String> {
    if parent == Some(name) {
        return Err(format!("cannot set moment {name} as its own parent"));
    }
    let mut ancestor = parent;
    while let Some(current) = ancestor {
        if current == name {
            return Err(format!("parent {} would create cycle to {name}", parent.unwrap_or_default()));
        }
        match snapshots.get(current) {
            Some(snapshot) => ancestor = snapshot.parent.as_deref(),
            None => return Err(format!("parent {current} for moment {name} not found")),
        }
    }
    Ok(())
}

/// libvirt's word for a snapshot of a running guest without its RAM.
pub const DISK_SNAPSHOT: &str = "disk-snapshot";

impl SnapshotRecord {
    /// Says whether it has a guest that runs or is paused.
    pub fn is_online(&self) -> bool {
        [DomainState::Running, DomainState::Paused].iter().any(|state| state.as_str() == self.state)
    }

    pub fn is_internal(&self) -> bool {
        self.memory == Memory::Internal || self.disks.values().any(|disk| disk.kind == SnapshotKind::Internal)
    }
}

fn describe(name: &str, snapshot: &SnapshotRecord, is_current: bool) -> Result<Snapshot> {
    Ok(Snapshot {
        name: name.to_string(),
        parent: snapshot.parent.clone(),
        comment: snapshot.comment.clone(),
        created: snapshot.created,
        state: snapshot.state.clone(),
        is_current,
        document: SnapshotDocument::print(name, snapshot)?,
        memory: snapshot.memory.clone(),
        disks: disks(snapshot),
        metadata: snapshot.document.metadata(),
    })
}

fn disks(snapshot: &SnapshotRecord) -> Vec<SnapshotDisk> {
    let member = |target: &str| snapshot.disks.get(target);
    let of_domain = snapshot.document.disks.iter().map(|(target, disk)| SnapshotDisk {
        target: target.clone(),
        kind: member(target).map(|member| member.kind),
        is_written: disk.is_written(),
        file: disk.describe(target).file().map(|file| file.to_path_buf()),
        format: disk.format.clone(),
        overlay: member(target).and_then(|member| member.overlay.clone()),
        obstacle: disk.obstacle(),
        is_running_only: false,
        is_optional: disk.device != "disk",
    });
    // A document that requests a snapshot need not have the domain in it.
    let unknown = snapshot.disks.iter().filter(|(target, _)| !snapshot.document.disks.contains_key(*target));
    let unknown = unknown.map(|(target, member)| SnapshotDisk {
        target: target.clone(),
        kind: Some(member.kind),
        is_written: true,
        file: None,
        format: "qcow2".to_string(),
        overlay: member.overlay.clone(),
        obstacle: None,
        is_running_only: false,
        is_optional: false,
    });
    of_domain.chain(unknown).collect()
}
