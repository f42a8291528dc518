//! Refuses reverts that cannot work, before anything changes.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::hypervisor::{SnapshotDisk, SnapshotKind};
use crate::shell;
use crate::tree::change::preflight::{OVERLAY, end_block_job, managed_save, own, redefine, writable};
use crate::tree::files::file_id::FileSet;
use crate::tree::kept::undo_log::{Kept, UndoEntry};
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::owners::dependents::first_dependent;
use crate::tree::record::node::Node;

const BY_VIRSH: &str = "`virsh snapshot-revert` can try it";

/// Refuses to stop a domain that would cease to exist.
fn persistent(machine: &Machine, cannot: impl Fn() -> Error) -> Result<()> {
    if machine.details.domain.is_persistent {
        return Ok(());
    }
    let name = &machine.name;
    Err(cannot().cause(format!("`{name}` is transient, and gone once it is stopped")).hint(format!(
        "`virsh define` makes it persistent: virsh dumpxml {} > x.xml; virsh define x.xml",
        shell::last(name)
    )))
}

/// Refuses to stop a guest that could not be started again.
fn can_start_again(machine: &Machine, cannot: impl Fn() -> Error) -> Result<()> {
    let lost = machine.details.disks.iter().find_map(|disk| Some((&disk.target, disk.lost_file()?)));
    let Some((target, file)) = lost.filter(|_| machine.is_active()) else { return Ok(()) };
    Err(cannot().cause(lost_medium(target, file)).hint(format!(
        "put the file back, or eject it: `virsh change-media {} {target} --eject`",
        shell::word(machine.name.as_str())
    )))
}

fn lost_medium(target: &str, file: &Path) -> String {
    format!("the file of disk `{target}`, `{}`, is gone, and the guest does not start without it", file.display())
}

/// Refuses to change disks with a block job.
fn block_jobs(machine: &Machine, cannot: impl Fn() -> Error) -> Result<()> {
    let Some(disk) = machine.details.disks.iter().find(|disk| disk.has_block_job) else { return Ok(()) };
    let target = &disk.target;
    Err(cannot().cause(format!("disk `{target}` has a block job")).hint(end_block_job(machine, target)))
}

/// Refuses a revert that cannot work.
pub fn revert(engine: &Engine, machine: &Machine, node: &Node, is_started: bool) -> Result<()> {
    let cannot = || Error::failed(format!("`{}` cannot go back to `{}`", machine.name, node.name()));
    redefine(engine)?;
    managed_save(machine)?;
    persistent(machine, cannot)?;
    can_start_again(machine, cannot)?;
    media(node, is_started, cannot)?;
    block_jobs(machine, cannot)?;
    held(machine, node, cannot)?;
    own(engine, machine, &node.snapshot.layers(), cannot)?;
    unchanged(engine, machine, node, cannot)?;
    let is_there = |target: &str| machine.details.disks.iter().any(|disk| disk.target == target);
    if let Some(disk) = node.snapshot.left_out().find(|disk| !is_there(&disk.target)) {
        return Err(cannot()
            .cause(format!("the snapshot left out disk `{}`, which `{}` does not have now", disk.target, machine.name))
            .hint("attach it again first"));
    }
    place(engine, machine, node, cannot)
}

/// Refuses to start a guest without a medium that it had in a drive.
fn media(node: &Node, is_started: bool, cannot: impl Fn() -> Error) -> Result<()> {
    if !is_started && !node.snapshot.has_memory() {
        return Ok(());
    }
    let is_medium = |disk: &&SnapshotDisk| disk.kind.is_none() && !disk.is_written && !disk.is_optional;
    let media = node.snapshot.disks.iter().filter(is_medium);
    match media.filter_map(|disk| Some((&disk.target, disk.file.as_deref()?))).find(|(_, file)| !file.exists()) {
        Some((target, file)) => {
            Err(cannot().cause(lost_medium(target, file)).hint("put the file back: the guest had it in the drive"))
        }
        None => Ok(()),
    }
}

/// Refuses disks that cannot be reverted.
fn held(machine: &Machine, node: &Node, cannot: impl Fn() -> Error) -> Result<()> {
    let snapshot = &node.snapshot;
    if snapshot.members().next().is_none() {
        return Err(cannot().cause("the snapshot holds no disk").hint(BY_VIRSH));
    }
    if let Some(disk) = snapshot.members().find(|disk| disk.file.is_none()) {
        return Err(cannot().cause(format!("disk `{}` was not a file then", disk.target)).hint(BY_VIRSH));
    }
    let is_held = |target: &str| snapshot.members().any(|disk| disk.target == target);
    let then = snapshot.members().find_map(|disk| Some((&disk.target, disk.obstacle.as_deref()?)));
    let mut present = machine.details.disks.iter().filter(|disk| disk.is_written() && is_held(&disk.target));
    let now = present.find_map(|disk| Some((&disk.target, disk.obstacle.as_deref()?)));
    match then.or(now).filter(|_| snapshot.kind() == SnapshotKind::External) {
        Some((target, why)) => Err(cannot().cause(format!("disk `{target}`: {why}")).hint(BY_VIRSH)),
        None => Ok(()),
    }
}

/// Refuses a snapshot whose files changed.
fn unchanged(engine: &Engine, machine: &Machine, node: &Node, cannot: impl Fn() -> Error) -> Result<()> {
    let (snapshot, name) = (&node.snapshot, &machine.name);
    let delete = format!("`snaptree delete {}` removes", shell::last(format!("{name}/{}", node.name())));
    if let Some(missing) = snapshot.missing_file() {
        return Err(cannot().cause(missing).hint(format!("{delete} what is left of it")));
    }
    if snapshot.kind() == SnapshotKind::External {
        let written = FileSet::from_iter(machine.written_disks().iter().map(|disk| &disk.file));
        return match snapshot.layers().into_iter().find(|layer| written.contains(&layer.file)) {
            Some(layer) => Err(cannot()
                .cause(format!(
                    "`{name}` writes to `{}`, the layer of disk `{}`: what came after was merged into it",
                    layer.file.display(),
                    layer.target
                ))
                .hint(format!("{delete} the snapshot, which is lost"))),
            None => Ok(()),
        };
    }
    for layer in snapshot.layers() {
        if engine.hypervisor.count_internal(&layer.file, &snapshot.name)? > 1 {
            return Err(cannot()
                .cause(format!("`{}` has more than one snapshot of that name inside", layer.file.display()))
                .hint("`qemu-img snapshot -l` lists them, and `-d ID` deletes one"));
        }
    }
    Ok(())
}

/// Refuses files and directories that must not or cannot be written.
fn place(engine: &Engine, machine: &Machine, node: &Node, cannot: impl Fn() -> Error) -> Result<()> {
    let (snapshot, present) = (&node.snapshot, machine.written_disks());
    match snapshot.kind() {
        SnapshotKind::External => snapshot.layers().iter().try_for_each(|layer| {
            let now = present.iter().find(|disk| disk.target == layer.target);
            writable(&machine.directory_for(now.map_or(&layer.file, |disk| &disk.file)), OVERLAY)
        }),
        SnapshotKind::Internal if snapshot.has_memory() => {
            let files: Vec<_> = snapshot.layers().into_iter().map(|layer| layer.file).collect();
            match first_dependent(engine, machine, &files)? {
                Some(upper) => Err(cannot()
                    .cause(format!("{upper} depends on the file that holds it, which libvirt would overwrite"))
                    .hint("a branch can grow from it: that copies its disks, without the RAM")),
                None => Ok(()),
            }
        }
        SnapshotKind::Internal => Ok(()),
    }
}

fn give_up(machine: &Machine) -> String {
    format!("`snaptree gc {}` deletes the undo history", shell::last(&machine.name))
}

/// Refuses to restore a kept state of a machine if that cannot work.
pub fn undo(engine: &Engine, machine: &Machine, entry: &UndoEntry) -> Result<()> {
    let cannot = || Error::failed(format!("cannot undo `{}`", entry.what));
    managed_save(machine)?;
    persistent(machine, cannot)?;
    block_jobs(machine, cannot)?;
    can_start_again(machine, cannot)?;
    if let Kept::State(state) = &entry.kept
        && let Some(changed) = state.changed_below()
    {
        return Err(cannot()
            .cause(format!("`{}`, which it needs, was written to or replaced since", changed.display()))
            .hint(give_up(machine)));
    }
    if let Some(missing) = entry.files().into_iter().find(|file| !file.exists()) {
        return Err(cannot()
            .cause(format!("`{}`, which it needs, is missing", missing.display()))
            .hint(give_up(machine)));
    }
    if let Kept::State(state) = &entry.kept {
        own(engine, machine, &state.disks, cannot)?;
    }
    // The disks of an internal snapshot without RAM can be copied out of its file.
    let written: Vec<PathBuf> = match &entry.kept {
        Kept::State(state) => state.disks.iter().map(|disk| disk.file.clone()).collect(),
        Kept::Inside { snapshot, .. } if snapshot.has_memory() => {
            snapshot.layers().into_iter().map(|layer| layer.file).collect()
        }
        _ => Vec::new(),
    };
    for file in written {
        if let Some(upper) = first_dependent(engine, machine, std::slice::from_ref(&file))? {
            return Err(cannot()
                .cause(format!("{upper} depends on `{}` now, which must not change", file.display()))
                .hint("delete what depends on it first"));
        }
    }
    Ok(())
}
