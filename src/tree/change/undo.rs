//! Undoes changes.

use crate::error::{Error, Result};
use crate::hypervisor::{RevertFlags, Snapshot, SnapshotKind};
use crate::name::MachineName;
use crate::shell;
use crate::tree::change::delete::remove;
use crate::tree::change::revert::{enter_copy, go, is_sound, revert_inside};
use crate::tree::change::transaction::{remember, remembered, to_be_changed_if};
use crate::tree::change::{preflight, preflight_revert};
use crate::tree::files::file_id::FileSet;
use crate::tree::graft::redefine::redefine;
use crate::tree::kept::change_name::ChangeName;
use crate::tree::kept::machine_state::NextGuest;
use crate::tree::kept::undo_log::{Deleted, Kept, UndoEntry, UndoLog, Unfinished};
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;

/// Undoes the newest change, or the one with this number; returns its description. This can be undone too.
pub fn undo(engine: &Engine, name: &MachineName, number: Option<u64>) -> Result<String> {
    let (machine, entry) = to_be_changed_if(engine, name, |machine| {
        let entry = machine.undo_entry(number)?;
        preflight::redefine(engine)?;
        if matches!(entry.kept, Kept::State(_) | Kept::Inside { .. }) {
            preflight_revert::undo(engine, machine, &entry)?;
        }
        Ok(entry)
    })?;
    let what = entry.what.undone();
    match &entry.kept {
        Kept::State(state) => {
            let target = state.target();
            go(engine, &machine, what, &target, Vec::new())?;
            if let Some(memory) = &state.memory {
                let _ = std::fs::remove_file(memory);
            }
        }
        Kept::Inside { snapshot, current } => {
            if is_sound(engine, &machine, snapshot)? {
                enter_inside(engine, &machine, what, snapshot, current.as_deref())?;
            } else {
                enter_copy(engine, &machine, what, snapshot, current.clone(), NextGuest::Off)?;
            }
        }
        Kept::Deleted(deleted) => redefine_deleted(engine, &machine, what, deleted)?,
        Kept::PutBack { names, metadata_only } => {
            let doomed = names.iter().filter_map(|name| machine.node(name)).collect();
            remove(engine, &machine, what, doomed, *metadata_only)?;
        }
    }
    UndoLog::of(&machine.directory).remove(&entry)?;
    engine.changed(name);
    Ok(entry.what.to_string())
}

/// Restores the state of a machine from an internal snapshot outside of the tree.
fn enter_inside(
    engine: &Engine,
    machine: &Machine,
    what: ChangeName,
    inside: &Snapshot,
    current: Option<&str>,
) -> Result<()> {
    let name = machine.name.as_str();
    let below = machine.current().map(|node| node.name().to_string());
    engine.hypervisor.redefine_snapshot(name, &inside.document, below.as_deref(), false)?;
    let machine = engine.existing_now(&machine.name)?;
    let node = machine.existing(&inside.name.parse()?)?;
    revert_inside(engine, &machine, what, &node.snapshot, RevertFlags::default())?;
    engine.hypervisor.delete_internal(name, &inside.name)?;
    let machine = engine.existing_now(&machine.name)?;
    if let Some(node) = current.and_then(|current| machine.nearest_to(current)) {
        redefine(engine, &machine, &node.snapshot, node.snapshot.parent.as_deref(), true)?;
    }
    Ok(())
}

/// Puts deleted snapshots back into the tree, and their children below them.
fn redefine_deleted(engine: &Engine, machine: &Machine, what: ChangeName, deleted: &Deleted) -> Result<()> {
    if let Some(taken) = deleted.snapshots.iter().find(|snapshot| machine.node(&snapshot.name).is_some()) {
        return Err(Error::failed(format!("cannot put back `{}`", taken.name))
            .cause(format!("there is another snapshot of that name in `{}` now", machine.name))
            .hint("delete that one first"));
    }
    if let Some(missing) = deleted.snapshots.iter().find_map(Snapshot::missing_file) {
        return Err(Error::failed("cannot put back what was deleted")
            .cause(missing)
            .hint(format!("`snaptree gc {}` deletes the undo history", shell::last(&machine.name))));
    }
    let current = was_current(engine, machine, deleted)?;
    let names: Vec<String> = deleted.snapshots.iter().map(|snapshot| snapshot.name.clone()).collect();
    let kept = Kept::PutBack { names: names.clone(), metadata_only: deleted.metadata_only };
    let entry = remember(engine, machine, what, kept, Unfinished::default())?;
    for snapshot in &deleted.snapshots {
        let parent = snapshot.parent.as_deref();
        let parent = parent.filter(|parent| machine.node(parent).is_some() || names.iter().any(|it| it == parent));
        let is_current = current.is_some_and(|current| current == snapshot.name);
        redefine(engine, machine, snapshot, parent, is_current)?;
    }
    for (child, parent) in &deleted.moved {
        if let Some(node) = machine.node(child) {
            let is_current = node.snapshot.is_current && current.is_none();
            redefine(engine, machine, &node.snapshot, Some(parent), is_current)?;
        }
    }
    remembered(engine, machine, entry)
}

/// Returns the deleted snapshot that will be the current one again, because the machine's disks are based on it.
fn was_current<'a>(engine: &Engine, machine: &Machine, deleted: &'a Deleted) -> Result<Option<&'a str>> {
    let (mut written, mut below) = (FileSet::default(), FileSet::default());
    for disk in machine.written_disks() {
        below.extend(engine.hypervisor.backing_chain(&disk.image())?.into_iter().map(|image| image.file));
        written.insert(&disk.file);
    }
    let current = machine.current().map(|node| node.name());
    let is_stood_on = |snapshot: &&Snapshot| {
        let layers = snapshot.layers();
        let is_below = layers.iter().all(|layer| below.contains(&layer.file));
        // An internal one shares its file with other snapshots.
        let is_inside = || layers.iter().all(|layer| below.contains(&layer.file) || written.contains(&layer.file));
        deleted.heir(snapshot) == current
            && match snapshot.kind() {
                SnapshotKind::External => is_below && !layers.is_empty(),
                SnapshotKind::Internal => snapshot.is_current && is_inside(),
            }
    };
    // Parents come first, so the last one is the nearest to the machine.
    Ok(deleted.snapshots.iter().rev().find(is_stood_on).map(|snapshot| snapshot.name.as_str()))
}

impl Machine {
    /// Returns the newest change that can be undone, or the one with this number.
    fn undo_entry(&self, number: Option<u64>) -> Result<UndoEntry> {
        let name = &self.name;
        let entries = UndoLog::of(&self.directory).entries();
        let chosen = match number {
            Some(number) => entries.into_iter().find(|entry| entry.number == number),
            None => entries.into_iter().next_back(),
        };
        chosen.ok_or_else(|| match number {
            Some(number) => Error::failed(format!("there is no change {number} to undo in `{name}`"))
                .hint(format!("`snaptree undo --list {}` lists the changes", shell::last(name))),
            None => Error::failed(format!("there is nothing to undo in `{name}`"))
                .hint("reverts and deletions of snapshots can be undone"),
        })
    }
}

impl Deleted {
    /// Returns the nearest ancestor of one of the snapshots that is not deleted too.
    fn heir<'a>(&'a self, snapshot: &'a Snapshot) -> Option<&'a str> {
        let is_deleted = |name: &str| self.snapshots.iter().find(|snapshot| snapshot.name == name);
        let mut heir = snapshot.parent.as_deref();
        while let Some(above) = heir.and_then(is_deleted) {
            heir = above.parent.as_deref();
        }
        heir
    }
}
