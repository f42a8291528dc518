//! Reverting to internal snapshots, and deleting them.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::fake::change::power::started;
use crate::fake::change::snapshots::delete_failed;
use crate::fake::record::state::{DomainRecord, InternalSnapshot, SnapshotRecord, State};
use crate::hypervisor::{DomainState, Memory, RevertFlags, SnapshotKind};

impl State {
    pub fn revert_internal(&mut self, domain: &str, name: &str, flags: RevertFlags) -> Result<()> {
        let failed = |cause: String| Error::failed(format!("cannot revert `{domain}` to `{name}`")).cause(cause);
        let record = self.record(domain)?;
        let snapshot = record.snapshot(name).map_err(failed)?.clone();
        check_revert(record, name, &snapshot, flags).map_err(failed)?;
        self.check_disks(&snapshot.document).map_err(failed)?;
        let held = self.held(name, &snapshot).map_err(failed)?;
        let ram = held.iter().find_map(|(_, held)| held.ram.clone());
        let ram = match snapshot.memory {
            Memory::Internal => Some(ram.ok_or_else(|| {
                failed("This is a disk-only snapshot. Revert to it offline using qemu-img".to_string())
            })?),
            _ => None,
        };

        for (place, held) in held {
            self.layer_mut(&place).files = held.files;
        }
        let boots = ram.is_none();
        let state = match (flags.paused || flags.running, ram.is_some()) {
            (true, _) => started(flags.paused),
            (false, true) => started(snapshot.state == DomainState::Paused.as_str()),
            (false, false) => DomainState::Shutoff,
        };
        let record = self.record_mut(domain)?;
        record.document = snapshot.document;
        record.set_state(state, ram.unwrap_or_default());
        record.current = Some(name.to_string());
        if state.is_active() && boots {
            self.started.push(domain.to_string());
        }
        Ok(())
    }

    pub fn delete_internal(&mut self, domain: &str, name: &str) -> Result<()> {
        let failed = |cause: String| delete_failed(domain, name).cause(cause);
        let snapshot = self.record(domain)?.snapshot(name).map_err(failed)?.clone();
        if !snapshot.is_internal() {
            return Err(failed("deletion of external disk snapshots not supported".to_string()));
        }
        // Like QEMU, this ignores an image that has already lost the snapshot.
        for place in internal_places(&snapshot) {
            if let Some(layer) = self.layers.get_mut(&place) {
                layer.snapshots.remove(name);
            }
        }
        self.delete_snapshot(domain, name)
    }

    /// Finds what every disk's layer holds of a snapshot.
    fn held(&self, name: &str, snapshot: &SnapshotRecord) -> Result<Vec<(PathBuf, InternalSnapshot)>, String> {
        let places = internal_places(snapshot).into_iter().map(|place| {
            let held = self.layers.get(&place).and_then(|layer| layer.snapshots.get(name)).cloned();
            let lacks = || match snapshot.is_online() {
                true => format!("Snapshot '{name}' does not exist in one or more devices"),
                false => format!("Could not apply snapshot '{name}': Can't find snapshot in `{}`", place.display()),
            };
            Ok((place.clone(), held.ok_or_else(lacks)?))
        });
        places.collect()
    }
}

/// Says in libvirt's words why a domain cannot revert.
fn check_revert(
    record: &DomainRecord,
    name: &str,
    snapshot: &SnapshotRecord,
    flags: RevertFlags,
) -> Result<(), String> {
    let asks_for_guest = flags.running || flags.paused;
    let refused = if flags.running && flags.paused {
        "Flags 'VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING' and 'VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED' are mutually exclusive"
    } else if !snapshot.is_internal() {
        "revert to external snapshot not supported yet"
    } else if !record.persistent && !snapshot.is_online() && !asks_for_guest {
        "transient domain needs to request run or pause to revert to inactive snapshot"
    } else if record.is_active() && !snapshot.is_online() && asks_for_guest && !flags.force {
        "revert requires force: must respawn qemu to start inactive snapshot"
    } else if snapshot.document.uuid != record.document.uuid {
        return Err(format!("snapshot '{name}' lacks domain '{}' rollback info", record.document.name));
    } else {
        return Ok(());
    };
    Err(refused.to_string())
}

/// Lists the files that hold an internal snapshot, the one with the RAM first.
fn internal_places(snapshot: &SnapshotRecord) -> Vec<PathBuf> {
    let internal = snapshot.disks.iter().filter(|(_, member)| member.kind == SnapshotKind::Internal);
    let disks = internal.filter_map(|(target, _)| snapshot.document.disks.get(target));
    disks.filter_map(|disk| disk.place()).map(|place| place.to_path_buf()).collect()
}
