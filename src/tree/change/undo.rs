//! Taking things back.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::hypervisor::{RevertFlags, Snapshot, SnapshotKind};
use crate::name::{MachineName, SnapshotName};
use crate::shell;
use crate::tree::change::preflight;
use crate::tree::files::file_id::{FileSet, is_same_file};
use crate::tree::graft::put::put;
use crate::tree::kept::machine_state::Then;
use crate::tree::kept::undo_log::{Deleted, Entry, Kept, Shelf, Unfinished};
use crate::tree::machine::engine::Engine;
use crate::tree::machine::seen::Machine;
use crate::tree::owners::collect::{Left, WhyLeft, collect};
use crate::tree::owners::dependents::standing_on;

/// How many changes of a machine can be taken back.
const KEPT: usize = 8;

/// One change that can be taken back. This is the schema of `snaptree undo --list --json`.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct UndoView {
    /// Counts up; `snaptree undo MACHINE NUMBER` takes this one back.
    pub number: u64,
    /// Seconds since the epoch.
    pub created: u64,
    /// What was done: `revert to sn02`, `delete sn03`, `undo revert to sn02`.
    pub what: String,
    /// What taking it back would do.
    pub effect: String,
}

impl Engine {
    /// Lists what can be taken back, the newest last.
    pub fn undo_entries(&self, machine: &MachineName) -> Result<Vec<UndoView>> {
        let machine = self.existing(machine)?;
        let view = |entry: Entry| UndoView {
            number: entry.number,
            created: entry.created,
            effect: entry.effect(),
            what: entry.what,
        };
        Ok(Shelf::of(&machine.directory).entries().into_iter().map(view).collect())
    }

    /// Takes back the newest change, or the one with this number; returns what it was. This can be taken back too.
    pub fn undo(&self, name: &MachineName, number: Option<u64>) -> Result<String> {
        let (machine, entry) = self.to_be_changed_if(name, |machine| {
            let entry = machine.undo_entry(number)?;
            preflight::redefine(self)?;
            if matches!(entry.kept, Kept::State(_) | Kept::Inside { .. }) {
                preflight::undo(self, machine, &entry)?;
            }
            Ok(entry)
        })?;
        let what = match entry.what.strip_prefix("undo: ") {
            Some(done) => done.to_string(),
            None => format!("undo: {}", entry.what),
        };
        match &entry.kept {
            Kept::State(state) => {
                let target = state.target();
                self.go(&machine, what, &target, Vec::new())?;
                if let Some(memory) = &state.memory {
                    let _ = std::fs::remove_file(memory);
                }
            }
            Kept::Inside { snapshot, current } => {
                if self.is_sound(&machine, snapshot)? {
                    self.enter_inside(&machine, what, snapshot, current.as_deref())?;
                } else {
                    self.enter_copy(&machine, what, snapshot, current.clone(), Then::Off)?;
                }
            }
            Kept::Deleted(deleted) => self.put_back_deleted(&machine, what, deleted)?,
            Kept::PutBack { names, metadata_only } => {
                let doomed = names.iter().filter_map(|name| machine.node(name)).collect();
                self.remove(&machine, what, doomed, *metadata_only)?;
            }
        }
        Shelf::of(&machine.directory).remove(&entry)?;
        self.changed(name);
        Ok(entry.what)
    }

    /// Takes the right to change a machine that `check` lets be changed; what it refuses, it refuses before anything is
    /// written, unless a change that was killed has to be settled first. Returns what it found out of the machine as it is
    /// then.
    pub(in crate::tree) fn to_be_changed_if<T>(
        &self,
        name: &MachineName,
        check: impl Fn(&Machine) -> Result<T>,
    ) -> Result<(Arc<Machine>, T)> {
        let machine = self.existing_now(name)?;
        if !Shelf::of(&machine.directory).entries().iter().any(|entry| entry.unfinished.is_some()) {
            check(&machine)?;
        }
        let machine = self.to_be_changed(name)?;
        let found = check(&machine)?;
        Ok((machine, found))
    }

    /// Takes the right to change a machine, finishes or takes back what was killed half-way, and returns the machine
    /// as it is then.
    pub(in crate::tree) fn to_be_changed(&self, name: &MachineName) -> Result<Arc<Machine>> {
        self.claim(name)?;
        self.existing_now(name)?;
        self.sweep(name)?;
        let machine = self.existing(name)?;
        let half_done: Vec<Entry> =
            Shelf::of(&machine.directory).entries().into_iter().filter(|entry| entry.unfinished.is_some()).collect();
        if half_done.is_empty() {
            return Ok(machine);
        }
        for entry in half_done {
            self.settle(&machine, entry)?;
        }
        self.existing_now(name)
    }

    /// Ends a change whose process was killed: it was made when the machine has its files already.
    fn settle(&self, machine: &Machine, entry: Entry) -> Result<()> {
        let shelf = Shelf::of(&machine.directory);
        let Some(unfinished) = entry.unfinished.clone() else { return Ok(()) };
        let state = match &entry.kept {
            Kept::State(state) => state,
            Kept::Inside { .. } => return shelf.finish(entry),
            Kept::Deleted(deleted) => {
                // Meanwhile somebody may have given a name again.
                let is_it = |snapshot: &&Snapshot| {
                    machine.node(&snapshot.name).is_some_and(|node| node.snapshot.created == snapshot.created)
                };
                let left = deleted.snapshots.iter().filter(is_it).map(|snapshot| snapshot.name.as_str());
                self.take_out(machine, &left.collect::<Vec<_>>())?;
                self.events.note(format!("finished `{}` in `{}`, which was interrupted", entry.what, machine.name));
                return shelf.finish(entry);
            }
            Kept::PutBack { names, .. } => {
                // What is to be put back is still kept by the entry that was being taken back.
                self.take_out(machine, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
                self.events.note(is_what_it_was(machine, &entry));
                return shelf.remove(&entry);
            }
        };
        let disks = machine.written_disks();
        let was_made = unfinished.disks.iter().any(|file| disks.iter().any(|disk| is_same_file(&disk.file, file)));
        if was_made {
            let current = unfinished.current.as_deref().and_then(|current| machine.node(current));
            if let Some(node) = current.filter(|node| !node.snapshot.is_current) {
                put(self, machine, &node.snapshot, node.snapshot.parent.as_deref(), true)?;
            }
            return shelf.finish(entry);
        }
        if disks != state.disks {
            // Somebody has taken the machine elsewhere since.
            return shelf.finish(entry);
        }
        self.return_to(machine, state)?;
        self.events.note(is_what_it_was(machine, &entry));
        shelf.remove(&entry)?;
        collect(self, &machine.name, unfinished.made).map(drop)
    }

    /// Takes those of the named snapshots, parents first, that are in a machine's tree out of it.
    fn take_out(&self, machine: &Machine, names: &[&str]) -> Result<()> {
        let present = names.iter().rev().filter(|name| machine.node(name).is_some());
        present.copied().try_for_each(|name| self.hypervisor.delete_snapshot_metadata(machine.name.as_str(), name))
    }

    /// Writes down what a machine was, for `undo`, before it changes.
    pub(in crate::tree) fn remember(
        &self,
        machine: &Machine,
        what: String,
        kept: Kept,
        change: Unfinished,
    ) -> Result<Entry> {
        self.store.create_directory(&machine.directory)?;
        Shelf::of(&machine.directory).begin(what, kept, change)
    }

    /// Notes that a change was made, and forgets the oldest ones.
    pub(in crate::tree) fn remembered(&self, machine: &Machine, entry: Entry) -> Result<()> {
        let shelf = Shelf::of(&machine.directory);
        shelf.finish(entry)?;
        let entries = shelf.entries();
        let too_many = entries.len().saturating_sub(KEPT);
        entries.into_iter().take(too_many).try_for_each(|oldest| self.forget(&machine.name, &oldest).map(drop))
    }

    /// Gives up what an entry keeps.
    pub(in crate::tree) fn forget(&self, name: &MachineName, entry: &Entry) -> Result<()> {
        let Some(machine) = self.look_again(name)? else { return Ok(()) };
        let (files, _) = self.take_off(&machine, entry)?;
        collect(self, name, files).map(drop)
    }

    /// Takes an entry off the shelf; returns the files that may go then, and those that an internal snapshot stays in.
    pub(in crate::tree) fn take_off(&self, machine: &Machine, entry: &Entry) -> Result<(Vec<PathBuf>, Vec<Left>)> {
        let (mut files, mut left) = (entry.files(), Vec::new());
        match &entry.kept {
            Kept::Inside { snapshot, .. } => left = self.drop_internal(machine, snapshot)?,
            Kept::Deleted(deleted) if deleted.metadata_only => files.clear(),
            Kept::Deleted(deleted) => {
                for snapshot in &deleted.snapshots {
                    left.extend(self.drop_internal(machine, snapshot)?);
                }
            }
            Kept::State(_) | Kept::PutBack { .. } => {}
        }
        let shelf = Shelf::of(&machine.directory);
        // Written down first, so that they are known when this process is killed.
        shelf.set_leftovers(&shelf.leftovers().into_iter().chain(files.iter().cloned()).collect())?;
        shelf.remove(entry)?;
        Ok((files, left))
    }

    /// Removes what an internal snapshot holds that is not in the tree any more. Inside a file that other images depend on
    /// it stays as long as that file. Returns the files that it stays in.
    fn drop_internal(&self, machine: &Machine, snapshot: &Snapshot) -> Result<Vec<Left>> {
        if snapshot.kind() != SnapshotKind::Internal || machine.node(&snapshot.name).is_some() {
            return Ok(Vec::new());
        }
        let files: Vec<PathBuf> = snapshot.layers().into_iter().map(|layer| layer.file).collect();
        let why = match standing_on(self, machine, &files)? {
            Some(upper) => Some(format!("{upper} depends on the file")),
            None => (!machine.has_disks_of(snapshot)).then(|| format!("`{}` has another disk now", machine.name)),
        };
        if let Some(why) = why {
            let holds =
                |file: &PathBuf| self.hypervisor.count_internal(file, &snapshot.name).is_ok_and(|count| count > 0);
            let left = |file| (file, WhyLeft::HoldsSnapshot(snapshot.name.clone(), why.clone()));
            return Ok(files.into_iter().filter(holds).map(left).collect());
        }
        let name = machine.name.as_str();
        let current = machine.current().map(|node| node.name().to_string());
        self.hypervisor.put_snapshot(name, &snapshot.document, current.as_deref(), false)?;
        if self.hypervisor.delete_internal(name, &snapshot.name).is_err() {
            // It is not there any more, or cannot be reached now: nothing depends on it.
            self.hypervisor.delete_snapshot_metadata(name, &snapshot.name)?;
        }
        Ok(Vec::new())
    }

    /// Forgets what was kept of internal snapshots with a name that is to be given again: a disk holds each name once.
    pub(in crate::tree) fn free_internal_name(&self, machine: &Machine, wanted: &SnapshotName) -> Result<()> {
        let holds = |snapshot: &Snapshot| snapshot.kind() == SnapshotKind::Internal && snapshot.name == wanted.as_str();
        for entry in Shelf::of(&machine.directory).entries() {
            if matches!(&entry.kept, Kept::Deleted(deleted) if deleted.snapshots.iter().any(holds)) {
                self.forget(&machine.name, &entry)?;
            }
        }
        Ok(())
    }

    /// Goes back to a machine's state that an internal snapshot outside of the tree holds.
    fn enter_inside(&self, machine: &Machine, what: String, inside: &Snapshot, current: Option<&str>) -> Result<()> {
        let name = machine.name.as_str();
        let below = machine.current().map(|node| node.name().to_string());
        self.hypervisor.put_snapshot(name, &inside.document, below.as_deref(), false)?;
        let machine = self.existing_now(&machine.name)?;
        let node = machine.existing(&inside.name.parse()?)?;
        self.revert_inside(&machine, what, &node.snapshot, RevertFlags::default())?;
        self.hypervisor.delete_internal(name, &inside.name)?;
        let machine = self.existing_now(&machine.name)?;
        if let Some(node) = current.and_then(|current| machine.nearest_to(current)) {
            put(self, &machine, &node.snapshot, node.snapshot.parent.as_deref(), true)?;
        }
        Ok(())
    }

    /// Puts deleted snapshots into the tree again, and their children below them.
    fn put_back_deleted(&self, machine: &Machine, what: String, deleted: &Deleted) -> Result<()> {
        if let Some(taken) = deleted.snapshots.iter().find(|snapshot| machine.node(&snapshot.name).is_some()) {
            return Err(Error::failed(format!("cannot put back `{}`", taken.name))
                .cause(format!("there is another snapshot of that name in `{}` now", machine.name))
                .hint("delete that one first"));
        }
        if let Some(missing) = deleted.snapshots.iter().find_map(Snapshot::missing_file) {
            return Err(Error::failed("cannot put back what was deleted")
                .cause(missing)
                .hint(format!("`snaptree gc {}` gives up what cannot be taken back", shell::last(&machine.name))));
        }
        let current = self.was_current(machine, deleted)?;
        let names: Vec<String> = deleted.snapshots.iter().map(|snapshot| snapshot.name.clone()).collect();
        let kept = Kept::PutBack { names: names.clone(), metadata_only: deleted.metadata_only };
        let entry = self.remember(machine, what, kept, Unfinished::default())?;
        for snapshot in &deleted.snapshots {
            let parent = snapshot.parent.as_deref();
            let parent = parent.filter(|parent| machine.node(parent).is_some() || names.iter().any(|it| it == parent));
            let is_current = current.is_some_and(|current| current == snapshot.name);
            put(self, machine, snapshot, parent, is_current)?;
        }
        for (child, parent) in &deleted.moved {
            if let Some(node) = machine.node(child) {
                let is_current = node.snapshot.is_current && current.is_none();
                put(self, machine, &node.snapshot, Some(parent), is_current)?;
            }
        }
        self.remembered(machine, entry)
    }
}

impl Engine {
    /// Returns the deleted snapshot that is the current one again once it is back: the machine stands on it.
    fn was_current<'a>(&self, machine: &Machine, deleted: &'a Deleted) -> Result<Option<&'a str>> {
        let (mut written, mut below) = (FileSet::default(), FileSet::default());
        for disk in machine.written_disks() {
            below.extend(self.hypervisor.backing_chain(&disk.image())?.into_iter().map(|image| image.file));
            written.insert(&disk.file);
        }
        let current = machine.current().map(|node| node.name());
        let is_stood_on = |snapshot: &&Snapshot| {
            let layers = snapshot.layers();
            let is_below = layers.iter().all(|layer| below.contains(&layer.file));
            // An internal one is in a file that other snapshots may be in too.
            let is_inside = || layers.iter().all(|layer| below.contains(&layer.file) || written.contains(&layer.file));
            deleted.heir(snapshot) == current
                && match snapshot.kind() {
                    SnapshotKind::External => is_below && !layers.is_empty(),
                    SnapshotKind::Internal => snapshot.is_current && is_inside(),
                }
        };
        // Parents come first: the last one is the nearest to the machine.
        Ok(deleted.snapshots.iter().rev().find(is_stood_on).map(|snapshot| snapshot.name.as_str()))
    }
}

impl Machine {
    /// Returns the newest change that can be taken back, or the one with this number.
    fn undo_entry(&self, number: Option<u64>) -> Result<Entry> {
        let name = &self.name;
        let entries = Shelf::of(&self.directory).entries();
        let chosen = match number {
            Some(number) => entries.into_iter().find(|entry| entry.number == number),
            None => entries.into_iter().next_back(),
        };
        chosen.ok_or_else(|| match number {
            Some(number) => Error::failed(format!("nothing with the number {number} can be taken back in `{name}`"))
                .hint(format!("`snaptree undo --list {}` lists what can", shell::last(name))),
            None => Error::failed(format!("there is nothing to undo in `{name}`"))
                .hint("reverts and deletions of snapshots can be taken back"),
        })
    }
}

impl Deleted {
    /// Returns the nearest parent of one of the snapshots that is not deleted too.
    fn heir<'a>(&'a self, snapshot: &'a Snapshot) -> Option<&'a str> {
        let is_deleted = |name: &str| self.snapshots.iter().find(|snapshot| snapshot.name == name);
        let mut heir = snapshot.parent.as_deref();
        while let Some(above) = heir.and_then(is_deleted) {
            heir = above.parent.as_deref();
        }
        heir
    }
}

fn is_what_it_was(machine: &Machine, entry: &Entry) -> String {
    format!("`{}` is what it was: `{}` was interrupted", machine.name, entry.what)
}
