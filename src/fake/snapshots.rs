//! libvirt's rules for snapshots as metadata, applied to the state.

use std::collections::BTreeMap;

use super::document::Document;
use super::domains::not_found;
use super::state::{DomainRecord, SnapshotRecord, State};
use crate::error::{Error, Result};
use crate::hypervisor::{Snapshot, SnapshotSpec};

impl State {
    pub fn list_snapshots(&self, domain: &str) -> Result<Vec<Snapshot>> {
        let record = self.domains.get(domain).ok_or_else(|| not_found(domain))?;
        record.snapshots.iter().map(|(name, snapshot)| print(record, name, snapshot)).collect()
    }

    pub fn redefine_snapshot(&mut self, domain: &str, spec: &SnapshotSpec) -> Result<()> {
        let record = self.domains.get_mut(domain).ok_or_else(|| not_found(domain))?;
        let failed = || Error::failed(format!("cannot put snapshot `{}` into the tree of `{domain}`", spec.name));
        if !record.persistent {
            return Err(failed().cause("cannot redefine a snapshot of a transient domain"));
        }
        check_parent(&record.snapshots, &spec.name, spec.parent.as_deref()).map_err(|cause| failed().cause(cause))?;
        let mut document = Document::parse(&spec.document)?;
        document.set_metadata(&spec.metadata);
        for disk in &spec.disks {
            match document.disks.get_mut(&disk.target) {
                Some(file) => *file = disk.layer.clone(),
                None => return Err(failed().cause(format!("no disk named '{}'", disk.target))),
            }
        }
        let snapshot = SnapshotRecord {
            parent: spec.parent.clone(),
            comment: spec.comment.clone(),
            created: spec.created,
            document,
            overlays: spec.disks.iter().map(|disk| disk.overlay.clone()).collect(),
        };
        record.snapshots.insert(spec.name.clone(), snapshot);
        if spec.current {
            record.current = Some(spec.name.clone());
        }
        Ok(())
    }

    pub fn delete_snapshot(&mut self, domain: &str, name: &str) -> Result<()> {
        let record = self.domains.get_mut(domain).ok_or_else(|| not_found(domain))?;
        let deleted = record.snapshots.remove(name).ok_or_else(|| {
            Error::failed(format!("cannot delete snapshot `{name}` of `{domain}`"))
                .cause(format!("no domain snapshot with matching name '{name}'"))
        })?;
        for child in record.snapshots.values_mut().filter(|child| child.parent.as_deref() == Some(name)) {
            child.parent = deleted.parent.clone();
        }
        if record.current.as_deref() == Some(name) {
            record.current = deleted.parent;
        }
        Ok(())
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

fn print(record: &DomainRecord, name: &str, snapshot: &SnapshotRecord) -> Result<Snapshot> {
    Ok(Snapshot {
        name: name.to_string(),
        parent: snapshot.parent.clone(),
        comment: snapshot.comment.clone(),
        created: snapshot.created,
        state: "shutoff".to_string(),
        is_current: record.current.as_deref() == Some(name),
        document: snapshot.document.print()?,
        layers: snapshot.document.disks.iter().map(|(target, file)| (target.clone(), file.clone())).collect(),
        overlays: snapshot.overlays.clone(),
        metadata: snapshot.document.metadata(),
    })
}
