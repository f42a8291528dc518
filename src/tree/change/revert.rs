//! Reverts to a snapshot.
//!
//! For an external one snaptree does this itself: it makes new overlays on the snapshot's layers, redefines the domain
//! onto them, and moves the current snapshot by metadata. No layer is written to, and the machine's earlier state is
//! kept for `undo`.

use std::path::{Path, PathBuf};

use crate::error::{Because, Error, Result};
use crate::hypervisor::{
    DiskChanges, DiskFile, Image, Memory, RevertFlags, Snapshot, SnapshotFlags, SnapshotKind, SnapshotRequest, Start,
};
use crate::name::SnapshotPath;
use crate::tree::change::present::{enter, leave, present, return_to};
use crate::tree::change::transaction::{remember, remembered, to_be_changed_if};
use crate::tree::change::{preflight, preflight_revert};
use crate::tree::clone::ram::memory_to_wake;
use crate::tree::files::file_id::is_same_file;
use crate::tree::files::made::Made;
use crate::tree::graft::layers::overlay_or_copy;
use crate::tree::kept::change_name::ChangeName;
use crate::tree::kept::machine_state::{NextGuest, NextState};
use crate::tree::kept::undo_log::{Kept, UndoLog, Unfinished};
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::owners::dependents::first_dependent;
use crate::tree::record::node::Node;

/// The next file of a machine's disk, and how to make it.
pub struct NewDisk {
    file: PathBuf,
    from: DiskContent,
}

enum DiskContent {
    Layer(Image),
    Internal { image: PathBuf, snapshot: String },
}

/// What a revert changes in its machine.
pub struct RevertPreview {
    pub stops_guest: bool,
    /// The snapshot that the machine's present state began as.
    pub current: Option<String>,
}

/// Tells what a revert would change, if it can be done.
pub fn preview_revert(engine: &Engine, path: &SnapshotPath) -> Result<RevertPreview> {
    let machine = engine.existing_now(&path.machine)?;
    preflight_revert::revert(engine, &machine, machine.existing(&path.snapshot)?, false)?;
    let current = machine.current().map(|node| node.name().to_string());
    Ok(RevertPreview { stops_guest: machine.is_active(), current })
}

/// Reverts to a snapshot. The machine's present state is kept for `undo`.
pub fn revert(engine: &Engine, path: &SnapshotPath, flags: RevertFlags) -> Result<()> {
    if flags.running && flags.paused {
        return Err(
            Error::usage("a guest cannot be both running and paused after a revert").hint("ask for one of the two")
        );
    }
    let (machine, ()) = to_be_changed_if(engine, &path.machine, |machine| {
        let is_started = flags.running || flags.paused;
        preflight_revert::revert(engine, machine, machine.existing(&path.snapshot)?, is_started)
    })?;
    let node = machine.existing(&path.snapshot)?;
    let what = ChangeName::new(format!("revert to {}", node.name()));
    match node.snapshot.kind() {
        SnapshotKind::External => revert_external(engine, &machine, node, what, flags)?,
        SnapshotKind::Internal if is_sound(engine, &machine, &node.snapshot)? => {
            revert_inside(engine, &machine, what, &node.snapshot, flags)?;
        }
        SnapshotKind::Internal => {
            let current = Some(node.name().to_string());
            enter_copy(engine, &machine, what, &node.snapshot, current, cold(flags))?;
        }
    }
    engine.changed(&path.machine);
    Ok(())
}

fn revert_external(
    engine: &Engine,
    machine: &Machine,
    node: &Node,
    what: ChangeName,
    flags: RevertFlags,
) -> Result<()> {
    let snapshot = &node.snapshot;
    let origin = |layer: &DiskFile| DiskContent::Layer(layer.image());
    let (mut disks, mut made) = new_disks(engine, machine, snapshot, origin)?;
    let paused = (snapshot.state == "paused" || flags.paused) && !flags.running;
    let mut guest = match &snapshot.memory {
        Memory::External(memory) => NextGuest::Resume { memory: memory.clone(), paused },
        Memory::Mapped(_) => match memory_to_wake(engine, node)? {
            Some(memory) => NextGuest::Wake { memory, paused },
            None => cold(flags),
        },
        Memory::No | Memory::Internal => cold(flags),
    };
    let is_running_only =
        |file: &DiskFile| snapshot.disks.iter().any(|disk| disk.is_running_only && disk.target == file.target);
    match &mut guest {
        NextGuest::Boot { attached, .. } => {
            *attached = disks.files.extract_if(.., |file| is_running_only(file)).collect()
        }
        NextGuest::Off => {
            for file in disks.files.extract_if(.., |file| is_running_only(file)) {
                made.retain(|made| made.file != file.file);
                let layer = snapshot.disks.iter().find(|disk| disk.target == file.target);
                let layer = layer.and_then(|disk| disk.file.as_deref()).unwrap_or(Path::new(""));
                engine.events.note(format!(
                    "`{}` does not start with disk `{}`, which was attached while it ran: its layer is `{}`",
                    machine.name,
                    file.target,
                    layer.display()
                ));
            }
        }
        NextGuest::Resume { .. } | NextGuest::Wake { .. } => {}
    }
    let current = Some(node.name().to_string());
    go(engine, machine, what, &NextState { document: snapshot.document.clone(), disks, current, guest }, made)
}

/// Reverts to an internal snapshot without RAM by copying its disks, if something else depends on its file.
pub fn enter_copy(
    engine: &Engine,
    machine: &Machine,
    what: ChangeName,
    snapshot: &Snapshot,
    current: Option<String>,
    guest: NextGuest,
) -> Result<()> {
    let origin =
        |layer: &DiskFile| DiskContent::Internal { image: layer.file.clone(), snapshot: snapshot.name.clone() };
    let (disks, made) = new_disks(engine, machine, snapshot, origin)?;
    go(engine, machine, what, &NextState { document: snapshot.document.clone(), disks, current, guest }, made)
}

/// Names new files for the disks that a snapshot holds; the other disks do not change.
fn new_disks(
    engine: &Engine,
    machine: &Machine,
    snapshot: &Snapshot,
    origin: impl Fn(&DiskFile) -> DiskContent,
) -> Result<(DiskChanges, Vec<NewDisk>)> {
    let present = machine.written_disks();
    let as_now = snapshot.left_out().map(|disk| disk.target.clone()).collect();
    let (mut files, mut made) = (Vec::new(), Vec::new());
    for layer in snapshot.layers() {
        let now = present.iter().find(|disk| disk.target == layer.target);
        let directory = machine.directory_for(now.map_or(&layer.file, |disk| &disk.file));
        let file = engine.store.new_file(&directory, &crate::name::slug(&snapshot.name), "qcow2")?;
        made.push(NewDisk { file: file.clone(), from: origin(&layer) });
        files.push(DiskFile { target: layer.target, file, format: "qcow2".to_string() });
    }
    Ok((DiskChanges { files, as_now }, made))
}

/// Keeps a machine's present state and replaces it with another one. If that fails, the machine is as before.
pub fn go(engine: &Engine, machine: &Machine, what: ChangeName, target: &NextState, made: Vec<NewDisk>) -> Result<()> {
    let present = present(engine, machine)?;
    preflight::keep(machine, &present)?;
    let files: Vec<PathBuf> = made.iter().map(|made| made.file.clone()).collect();
    let change = Unfinished {
        made: files.clone(),
        disks: target.disks.files.iter().map(|disk| disk.file.clone()).collect(),
        current: target.current.clone(),
    };
    let entry = remember(engine, machine, what, Kept::State(present.clone()), change)?;
    let mut done = made.iter().try_for_each(|made| make(engine, machine, made));
    done = done.and_then(|()| leave(engine, machine, &present)).and_then(|()| enter(engine, machine, target));
    let Err(error) = done else { return remembered(engine, machine, entry) };
    if let Err(worse) = return_to(engine, machine, &present) {
        UndoLog::of(&machine.directory).finish(entry)?;
        return Err(Error { others: vec![worse], ..error });
    }
    UndoLog::of(&machine.directory).remove(&entry)?;
    for file in &files {
        Made::of(&machine.directory).unmake(file);
    }
    Err(error)
}

fn make(engine: &Engine, machine: &Machine, made: &NewDisk) -> Result<()> {
    match &made.from {
        DiskContent::Layer(layer) => overlay_or_copy(engine, layer, &made.file)?,
        DiskContent::Internal { image, snapshot } => engine.hypervisor.copy_internal(image, snapshot, &made.file)?,
    }
    Made::of(&machine.directory).record_if_there(&engine.store, &machine.directory, &made.file)
}

/// Reverts to an internal snapshot by libvirt's own call, which overwrites the present content of its file.
pub fn revert_inside(
    engine: &Engine,
    machine: &Machine,
    what: ChangeName,
    snapshot: &Snapshot,
    flags: RevertFlags,
) -> Result<()> {
    let name = machine.name.as_str();
    let layers = snapshot.layers();
    let as_now = snapshot.left_out().map(|disk| disk.target.clone()).collect();
    let changes = DiskChanges { files: layers.clone(), as_now };
    if machine.has_disks_of(snapshot) {
        give_up_ram(engine, machine)?;
        let inside = take_inside(engine, machine)?;
        let current = machine.current().map(|node| node.name().to_string());
        let kept = Kept::Inside { snapshot: Box::new(inside), current };
        let entry = remember(engine, machine, what, kept, Unfinished::default())?;
        engine.hypervisor.revert_internal(name, &snapshot.name, flags)?;
        // libvirt reverts the whole definition of the domain, including the disks that the snapshot left out.
        engine.hypervisor.redefine(name, &snapshot.document, &machine.details.document, &changes)?;
        return remembered(engine, machine, entry);
    }
    let present = present(engine, machine)?;
    preflight::keep(machine, &present)?;
    move_kept_states_off(engine, machine, &layers)?;
    let disks = layers.iter().map(|layer| layer.file.clone()).collect();
    let change = Unfinished { made: Vec::new(), disks, current: Some(snapshot.name.clone()) };
    let entry = remember(engine, machine, what, Kept::State(present.clone()), change)?;
    let done = leave(engine, machine, &present)
        .and_then(|()| engine.hypervisor.redefine(name, &snapshot.document, &machine.details.document, &changes))
        .and_then(|()| engine.hypervisor.revert_internal(name, &snapshot.name, flags))
        .and_then(|()| engine.hypervisor.redefine(name, &snapshot.document, &machine.details.document, &changes));
    let Err(error) = done else { return remembered(engine, machine, entry) };
    return_to(engine, machine, &present)?;
    UndoLog::of(&machine.directory).remove(&entry)?;
    Err(error)
}

/// Stops a guest whose RAM cannot be kept.
fn give_up_ram(engine: &Engine, machine: &Machine) -> Result<()> {
    match machine.is_active().then(|| machine.why_no_memory()).flatten() {
        Some(why) => {
            engine.events.note(format!("the RAM of `{}` cannot be kept: {why}", machine.name));
            engine.hypervisor.destroy(machine.name.as_str())
        }
        None => Ok(()),
    }
}

/// Keeps a machine's present state in an internal snapshot that its tree does not show.
fn take_inside(engine: &Engine, machine: &Machine) -> Result<Snapshot> {
    let name = machine.name.as_str();
    // The image may have internal snapshots from another store.
    let inside = format!("snaptree-undo-{}", engine.store.new_id()?);
    engine.hypervisor.create_snapshot(
        name,
        &SnapshotRequest {
            name: inside.clone(),
            comment: "what the machine was, for `snaptree undo`".to_string(),
            kind: SnapshotKind::Internal,
            disks: machine.written_disks().into_iter().map(|disk| (disk.target, None)).collect(),
            memory: None,
            flags: SnapshotFlags::default(),
        },
    )?;
    let now = engine.existing_now(&machine.name)?;
    let snapshot = now.existing(&inside.parse()?)?.snapshot.clone();
    engine.hypervisor.delete_snapshot_metadata(name, &inside)?;
    Ok(snapshot)
}

/// Copies files that are kept for `undo` before anything in them is overwritten.
fn move_kept_states_off(engine: &Engine, machine: &Machine, layers: &[DiskFile]) -> Result<()> {
    let undo_log = UndoLog::of(&machine.directory);
    for mut entry in undo_log.entries() {
        let Kept::State(state) = &mut entry.kept else { continue };
        let mut has_changed = false;
        for disk in
            state.disks.iter_mut().filter(|disk| layers.iter().any(|layer| is_same_file(&layer.file, &disk.file)))
        {
            let copy = engine.store.new_file(&machine.directory_for(&disk.file), "present", "qcow2")?;
            std::fs::copy(&disk.file, &copy).because(|| format!("cannot copy `{}`", disk.file.display()))?;
            Made::of(&machine.directory).record_if_there(&engine.store, &machine.directory, &copy)?;
            disk.file = copy;
            has_changed = true;
        }
        if has_changed {
            undo_log.write(&entry)?;
        }
    }
    Ok(())
}

/// Returns whether an internal snapshot's file can be written to without changing a backing file of something else.
pub fn is_sound(engine: &Engine, machine: &Machine, snapshot: &Snapshot) -> Result<bool> {
    let files: Vec<PathBuf> = snapshot.layers().into_iter().map(|layer| layer.file).collect();
    Ok(first_dependent(engine, machine, &files)?.is_none())
}

/// What happens to the guest of a snapshot without RAM.
fn cold(flags: RevertFlags) -> NextGuest {
    let start = Start { paused: flags.paused, reset_nvram: flags.reset_nvram };
    if flags.running || flags.paused { NextGuest::Boot { start, attached: Vec::new() } } else { NextGuest::Off }
}
