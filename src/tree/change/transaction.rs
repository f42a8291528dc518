//! A change of a machine that can be undone: begun, finished or settled, and forgotten.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Result;
use crate::hypervisor::{Snapshot, SnapshotKind};
use crate::name::{MachineName, SnapshotName};
use crate::tree::change::present::return_to;
use crate::tree::files::file_id::is_same_file;
use crate::tree::graft::redefine::redefine;
use crate::tree::graft::sweep::sweep;
use crate::tree::kept::change_name::ChangeName;
use crate::tree::kept::undo_log::{Kept, UndoEntry, UndoLog, Unfinished};
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::owners::collect::{Left, WhyLeft, collect};
use crate::tree::owners::dependents::first_dependent;

/// How many changes of a machine can be undone.
const KEPT: usize = 8;

/// Claims a machine that passes `check`. The check refuses before anything is written, unless an interrupted change has
/// to be settled first. Returns the result of the check on the machine's final state.
pub fn to_be_changed_if<T>(
    engine: &Engine,
    name: &MachineName,
    check: impl Fn(&Machine) -> Result<T>,
) -> Result<(Arc<Machine>, T)> {
    let machine = engine.existing_now(name)?;
    if !UndoLog::of(&machine.directory).entries().iter().any(|entry| entry.unfinished.is_some()) {
        check(&machine)?;
    }
    let machine = to_be_changed(engine, name)?;
    let found = check(&machine)?;
    Ok((machine, found))
}

/// Claims a machine, finishes or rolls back interrupted changes, and returns the machine's state after that.
pub fn to_be_changed(engine: &Engine, name: &MachineName) -> Result<Arc<Machine>> {
    engine.claim(name)?;
    engine.existing_now(name)?;
    sweep(engine, name)?;
    let machine = engine.existing(name)?;
    let half_done: Vec<UndoEntry> =
        UndoLog::of(&machine.directory).entries().into_iter().filter(|entry| entry.unfinished.is_some()).collect();
    if half_done.is_empty() {
        return Ok(machine);
    }
    for entry in half_done {
        settle(engine, &machine, entry)?;
    }
    engine.existing_now(name)
}

/// Settles a change whose process was killed: it was made if the machine has its files already.
fn settle(engine: &Engine, machine: &Machine, entry: UndoEntry) -> Result<()> {
    let undo_log = UndoLog::of(&machine.directory);
    let Some(unfinished) = entry.unfinished.clone() else { return Ok(()) };
    let state = match &entry.kept {
        Kept::State(state) => state,
        Kept::Inside { .. } => return undo_log.finish(entry),
        Kept::Deleted(deleted) => {
            // A name may have been reused meanwhile.
            let is_it = |snapshot: &&Snapshot| {
                machine.node(&snapshot.name).is_some_and(|node| node.snapshot.created == snapshot.created)
            };
            let left = deleted.snapshots.iter().filter(is_it).map(|snapshot| snapshot.name.as_str());
            take_out(engine, machine, &left.collect::<Vec<_>>())?;
            engine.events.note(format!("finished interrupted `{}` on `{}`", entry.what, machine.name));
            return undo_log.finish(entry);
        }
        Kept::PutBack { names, .. } => {
            // The entry that was being undone still keeps the snapshots to put back.
            take_out(engine, machine, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
            engine.events.note(is_what_it_was(machine, &entry));
            return undo_log.remove(&entry);
        }
    };
    let disks = machine.written_disks();
    let was_made = unfinished.disks.iter().any(|file| disks.iter().any(|disk| is_same_file(&disk.file, file)));
    if was_made {
        let current = unfinished.current.as_deref().and_then(|current| machine.node(current));
        if let Some(node) = current.filter(|node| !node.snapshot.is_current) {
            redefine(engine, machine, &node.snapshot, node.snapshot.parent.as_deref(), true)?;
        }
        return undo_log.finish(entry);
    }
    if disks != state.disks {
        // The machine's disks were changed since, by something other than snaptree.
        return undo_log.finish(entry);
    }
    return_to(engine, machine, state)?;
    engine.events.note(is_what_it_was(machine, &entry));
    undo_log.remove(&entry)?;
    collect(engine, &machine.name, unfinished.made).map(drop)
}

/// Removes the named snapshots, given parents first, from a machine's tree, as far as they are in it.
fn take_out(engine: &Engine, machine: &Machine, names: &[&str]) -> Result<()> {
    let present = names.iter().rev().filter(|name| machine.node(name).is_some());
    present.copied().try_for_each(|name| engine.hypervisor.delete_snapshot_metadata(machine.name.as_str(), name))
}

/// Records a machine's state for `undo`, before it changes.
pub fn remember(
    engine: &Engine,
    machine: &Machine,
    what: ChangeName,
    kept: Kept,
    change: Unfinished,
) -> Result<UndoEntry> {
    engine.store.create_directory(&machine.directory)?;
    UndoLog::of(&machine.directory).begin(what, kept, change)
}

/// Records that a change was made, and forgets the oldest ones.
pub fn remembered(engine: &Engine, machine: &Machine, entry: UndoEntry) -> Result<()> {
    let undo_log = UndoLog::of(&machine.directory);
    undo_log.finish(entry)?;
    let entries = undo_log.entries();
    let too_many = entries.len().saturating_sub(KEPT);
    entries.into_iter().take(too_many).try_for_each(|oldest| forget(engine, &machine.name, &oldest).map(drop))
}

/// Discards everything that an entry keeps.
fn forget(engine: &Engine, name: &MachineName, entry: &UndoEntry) -> Result<()> {
    let Some(machine) = engine.look_again(name)? else { return Ok(()) };
    let (files, _) = take_off(engine, &machine, entry)?;
    collect(engine, name, files).map(drop)
}

/// Removes an entry from the undo log; returns the files that may be removed then, and those that still contain an
/// internal snapshot.
pub fn take_off(engine: &Engine, machine: &Machine, entry: &UndoEntry) -> Result<(Vec<PathBuf>, Vec<Left>)> {
    let (mut files, mut left) = (entry.files(), Vec::new());
    match &entry.kept {
        Kept::Inside { snapshot, .. } => left = drop_internal(engine, machine, snapshot)?,
        Kept::Deleted(deleted) if deleted.metadata_only => files.clear(),
        Kept::Deleted(deleted) => {
            for snapshot in &deleted.snapshots {
                left.extend(drop_internal(engine, machine, snapshot)?);
            }
        }
        Kept::State(_) | Kept::PutBack { .. } => {}
    }
    let undo_log = UndoLog::of(&machine.directory);
    // Recorded first, so that they are known if this process is killed.
    undo_log.set_leftovers(&undo_log.leftovers().into_iter().chain(files.iter().cloned()).collect())?;
    undo_log.remove(entry)?;
    Ok((files, left))
}

/// Deletes the data of an internal snapshot that is no longer in the tree. In a file that other images depend on it
/// stays as long as the file does. Returns the files that still contain it.
fn drop_internal(engine: &Engine, machine: &Machine, snapshot: &Snapshot) -> Result<Vec<Left>> {
    if snapshot.kind() != SnapshotKind::Internal || machine.node(&snapshot.name).is_some() {
        return Ok(Vec::new());
    }
    let files: Vec<PathBuf> = snapshot.layers().into_iter().map(|layer| layer.file).collect();
    let why = match first_dependent(engine, machine, &files)? {
        Some(upper) => Some(format!("{upper} depends on the file")),
        None => (!machine.has_disks_of(snapshot)).then(|| format!("`{}` has another disk now", machine.name)),
    };
    if let Some(why) = why {
        let holds =
            |file: &PathBuf| engine.hypervisor.count_internal(file, &snapshot.name).is_ok_and(|count| count > 0);
        let left = |file| (file, WhyLeft::HoldsSnapshot(snapshot.name.clone(), why.clone()));
        return Ok(files.into_iter().filter(holds).map(left).collect());
    }
    let name = machine.name.as_str();
    let current = machine.current().map(|node| node.name().to_string());
    engine.hypervisor.redefine_snapshot(name, &snapshot.document, current.as_deref(), false)?;
    if engine.hypervisor.delete_internal(name, &snapshot.name).is_err() {
        // It no longer exists, or cannot be reached now: nothing depends on it.
        engine.hypervisor.delete_snapshot_metadata(name, &snapshot.name)?;
    }
    Ok(Vec::new())
}

/// Forgets kept internal snapshots whose name is about to be reused: a disk holds each name once.
pub fn free_internal_name(engine: &Engine, machine: &Machine, wanted: &SnapshotName) -> Result<()> {
    let holds = |snapshot: &Snapshot| snapshot.kind() == SnapshotKind::Internal && snapshot.name == wanted.as_str();
    for entry in UndoLog::of(&machine.directory).entries() {
        if matches!(&entry.kept, Kept::Deleted(deleted) if deleted.snapshots.iter().any(holds)) {
            forget(engine, &machine.name, &entry)?;
        }
    }
    Ok(())
}

fn is_what_it_was(machine: &Machine, entry: &UndoEntry) -> String {
    format!("rolled back interrupted `{}` on `{}`", entry.what, machine.name)
}
