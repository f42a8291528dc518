//! Takes snapshots of any domain.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::hypervisor::{DiskFile, Document, Image, Memory, Snapshot, SnapshotFlags, SnapshotKind, SnapshotRequest};
use crate::name::{MachineName, SnapshotName, SnapshotPath};
use crate::nearest::did_you_mean;
use crate::shell;
use crate::tree::change::new_files::{beside, directory_of, wanted_file};
use crate::tree::change::preflight;
use crate::tree::change::transaction::{free_internal_name, to_be_changed_if};
use crate::tree::files::file_id::{FileId, FileSet};
use crate::tree::files::made::Made;
use crate::tree::graft::layers::{shorten, too_deep};
use crate::tree::graft::redefine::redefine;
use crate::tree::kept::undo_log::{Kept, UndoLog};
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;

/// A requested snapshot.
#[derive(Clone, Debug, Default)]
pub struct NewSnapshot {
    pub comment: String,
    /// External by default.
    pub kind: Option<SnapshotKind>,
    /// Whether it includes the RAM of a running guest; by default it does, unless `disk_only` is set.
    pub memory: Option<bool>,
    /// The file for the RAM; by default beside the first disk.
    pub memory_file: Option<PathBuf>,
    /// Choices for disks, by target; the domain's XML decides about the others.
    pub disks: BTreeMap<String, DiskChoice>,
    pub flags: SnapshotFlags,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskChoice {
    LeaveOut,
    /// The file is the overlay of an external snapshot; by default beside the disk.
    TakePart(Option<PathBuf>),
}

/// Takes a snapshot, which becomes the current one.
pub fn take_snapshot(engine: &Engine, machine: &MachineName, name: &SnapshotName, take: &NewSnapshot) -> Result<()> {
    let (machine, (request, warning)) = to_be_changed_if(engine, machine, |machine| {
        let request = plan(engine, machine, name, take)?;
        let warning = preflight::snapshot(engine, machine, &machine.held_by(&request))?;
        Ok((request, warning))
    })?;
    warning.into_iter().for_each(|warning| engine.events.note(warning));
    for disk in &machine.details.disks {
        let is_asked_for = take.disks.contains_key(&disk.target) || disk.snapshot.as_deref() == Some("no");
        if let Some(why) = disk.left_out().filter(|_| !is_asked_for) {
            let target = &disk.target;
            engine.events.note(format!("the snapshot leaves out disk `{target}` of `{}`: {why}", machine.name));
        }
    }
    if request.kind == SnapshotKind::Internal {
        free_internal_name(engine, &machine, name)?;
    } else if !take.flags.reuse_external {
        shorten(engine, &machine, &machine.held_by(&request))?;
    }
    let made = engine.hypervisor.create_snapshot(machine.name.as_str(), &request);
    engine.changed(&machine.name);
    made?;
    let overlays = request.disks.iter().filter_map(|(_, overlay)| overlay.as_ref());
    let overlays = overlays.filter(|_| !take.flags.reuse_external);
    for file in overlays.chain(&request.memory) {
        // The snapshot exists; a file that is not recorded is never removed.
        if let Err(error) = Made::of(&machine.directory).record_if_there(&engine.store, &machine.directory, file) {
            engine.events.note(format!("`snaptree gc` will not remove `{}`: {error}", file.display()));
        }
    }
    Ok(())
}

/// Turns the requested snapshot into a request to libvirt, or returns why it is impossible.
fn plan(engine: &Engine, machine: &Machine, name: &SnapshotName, take: &NewSnapshot) -> Result<SnapshotRequest> {
    if machine.node(name.as_str()).is_some() {
        return Err(Error::failed(format!("a snapshot `{name}` exists already in `{}`", machine.name))
            .hint("give it another name, or delete that one first"));
    }
    preflight::managed_save(machine)?;
    let kind = take.kind.unwrap_or(SnapshotKind::External);
    let flags = checked_flags(machine, take, kind)?;
    let with_memory = machine.is_active() && !flags.disk_only;
    if with_memory {
        preflight::memory(machine)?;
    }
    if kind == SnapshotKind::Internal {
        free_inside(engine, machine, name)?;
        preflight::internal_name(machine, name)?;
        preflight::firmware(engine, machine)?;
    }
    let (mut taken, mut new) = (BTreeSet::new(), FileSet::default());
    let mut disks = Vec::new();
    for (target, file, wanted) in machine.taking_part(take, kind)? {
        let overlay = match (kind, wanted) {
            (SnapshotKind::Internal, _) => None,
            (SnapshotKind::External, Some(wanted)) => {
                let wanted = wanted_file(&wanted, flags.reuse_external)?;
                if flags.reuse_external {
                    overlay_on(engine, &wanted, &file)?;
                }
                Some(wanted)
            }
            (SnapshotKind::External, None) if flags.reuse_external => return Err(no_overlay(machine, &target)),
            (SnapshotKind::External, None) => Some(beside(&file, name, "", &taken)),
        };
        if let Some(overlay) = overlay.as_deref().filter(|_| !flags.reuse_external) {
            preflight::writable(directory_of(overlay), preflight::OVERLAY)?;
        }
        if let Some(twice) = overlay.as_deref().filter(|overlay| !new.insert(overlay)) {
            return Err(named_twice(twice));
        }
        taken.extend(overlay.clone());
        disks.push((target, overlay));
    }
    let memory = match (&take.memory_file, kind) {
        (_, SnapshotKind::Internal) => None,
        (Some(file), _) if with_memory => Some(wanted_file(file, false)?),
        _ if with_memory => machine.written_disks().first().map(|disk| beside(&disk.file, name, ".ram", &taken)),
        _ => None,
    };
    if let Some(twice) = memory.as_deref().filter(|memory| !new.insert(memory)) {
        return Err(named_twice(twice));
    }
    if let Some(directory) = memory.as_deref().and_then(Path::parent) {
        preflight::writable(directory, "the file with the RAM goes there")?;
        preflight::room_for_ram(machine, directory, "shut the guest down first, or leave its RAM out")?;
    }
    let (name, comment) = (name.to_string(), take.comment.clone());
    let request = SnapshotRequest { name, comment, kind, disks, memory, flags };
    if kind == SnapshotKind::External && !flags.reuse_external {
        too_deep(engine, machine, &machine.held_by(&request))?;
    }
    Ok(request)
}

fn checked_flags(machine: &Machine, take: &NewSnapshot, kind: SnapshotKind) -> Result<SnapshotFlags> {
    let mut flags = take.flags;
    let asks_for_memory = take.memory == Some(true) || take.memory_file.is_some();
    let usage = |message: &str, hint: &str| Err(Error::usage(message).hint(hint));
    if flags.disk_only && asks_for_memory {
        return usage("a snapshot of the disks only cannot have the RAM", "ask for one of the two");
    }
    if take.memory == Some(false) && take.memory_file.is_some() {
        return usage("a snapshot without the RAM needs no file for it", "leave the file out");
    }
    if asks_for_memory {
        preflight::memory(machine)?;
    }
    flags.disk_only |= machine.is_active() && take.memory == Some(false);
    if kind == SnapshotKind::Internal && flags.disk_only {
        return usage(
            "an internal snapshot of the disks only does not exist while the guest runs",
            "shut the guest down, or take an external snapshot",
        );
    }
    if kind == SnapshotKind::Internal && take.memory_file.is_some() {
        return usage(
            "an internal snapshot has the RAM inside the disk, not in a file",
            "leave the file out, or take an external snapshot",
        );
    }
    if flags.quiesce && !(flags.disk_only && machine.is_active()) {
        return usage(
            "only a snapshot of the disks of a running guest can be quiesced",
            "ask for the disks only too: `--disk-only`, in Lua `disk_only = true`",
        );
    }
    if flags.live && (kind == SnapshotKind::Internal || flags.disk_only || !machine.is_active()) {
        return usage(
            "live is for an external snapshot with the RAM of a running guest",
            "leave it out: any other snapshot stops the guest for a moment only",
        );
    }
    if flags.reuse_external && kind == SnapshotKind::Internal {
        return usage("an internal snapshot has no overlays to reuse", "take an external snapshot");
    }
    Ok(flags)
}

/// Takes the snapshot that `document`, libvirt's XML, describes. Returns its name.
pub fn take_described(
    engine: &Engine,
    machine: &MachineName,
    document: &str,
    flags: SnapshotFlags,
) -> Result<SnapshotName> {
    let wanted = engine.hypervisor.read_snapshot(&Document(document.to_string()))?;
    let name = if wanted.name.is_empty() { crate::clock::now().to_string() } else { wanted.name.clone() };
    let name = SnapshotName::new(name)?;
    take_snapshot(engine, machine, &name, &NewSnapshot::described(&wanted, flags))?;
    Ok(name)
}

/// Adds the snapshot that `document`, libvirt's XML, describes to a machine's tree; replaces one of the same name.
/// Returns its name.
pub fn redefine_snapshot(
    engine: &Engine,
    machine: &MachineName,
    document: &str,
    current: bool,
) -> Result<SnapshotName> {
    let document = Document(document.to_string());
    let wanted = engine.hypervisor.read_snapshot(&document)?;
    let (machine, name) = to_be_changed_if(engine, machine, |machine| {
        let replaces = machine.node(&wanted.name).is_some();
        let name = if replaces { wanted.name.parse() } else { SnapshotName::new(wanted.name.clone()) }?;
        preflight::redefine(engine)?;
        match wanted.parent.as_deref().filter(|parent| machine.node(parent).is_none()) {
            Some(parent) => Err(Error::failed(format!("there is no snapshot `{parent}` in `{}`", machine.name))
                .cause(format!("`{name}` would be below it"))
                .hint("add that one first, or remove `<parent>` to make a root")),
            None => Ok(name),
        }
    })?;
    let old = machine.node(name.as_str());
    let current = current || old.is_some_and(|node| node.snapshot.is_current);
    let snapshot = old.map_or(&wanted, |node| &node.snapshot);
    redefine(engine, &machine, &Snapshot { document, ..snapshot.clone() }, wanted.parent.as_deref(), current)?;
    engine.changed(&machine.name);
    Ok(name)
}

/// Changes a snapshot's comment.
pub fn set_comment(engine: &Engine, path: &SnapshotPath, comment: &str) -> Result<()> {
    let (machine, snapshot) = to_be_changed_if(engine, &path.machine, |machine| {
        preflight::redefine(engine)?;
        Ok(machine.existing(&path.snapshot)?.snapshot.clone())
    })?;
    let document = engine.hypervisor.with_comment(&snapshot.document, comment)?;
    let parent = snapshot.parent.as_deref();
    redefine(engine, &machine, &Snapshot { document, ..snapshot.clone() }, parent, snapshot.is_current)?;
    engine.changed(&machine.name);
    Ok(())
}

impl NewSnapshot {
    /// Reads the request in a document.
    fn described(wanted: &Snapshot, flags: SnapshotFlags) -> Self {
        let described = wanted.disks.iter().map(|disk| {
            let choice = match disk.kind {
                None => DiskChoice::LeaveOut,
                Some(_) => DiskChoice::TakePart(disk.overlay.clone()),
            };
            (disk.target.clone(), choice)
        });
        let is_internal = wanted.kind() == SnapshotKind::Internal;
        Self {
            comment: wanted.comment.clone(),
            kind: Some(if is_internal { SnapshotKind::Internal } else { SnapshotKind::External }),
            memory: None,
            memory_file: match &wanted.memory {
                Memory::External(file) => Some(file.clone()),
                Memory::No | Memory::Internal | Memory::Mapped(_) => None,
            },
            disks: described.collect(),
            flags,
        }
    }
}

/// Refuses to reuse a file that is not an overlay on the disk's file.
fn overlay_on(engine: &Engine, overlay: &Path, file: &Path) -> Result<()> {
    let chain = engine.hypervisor.backing_chain(&Image::qcow2(overlay)).unwrap_or_default();
    if chain.first().is_some_and(|backing| FileId::of(&backing.file) == FileId::of(file)) {
        return Ok(());
    }
    Err(Error::failed(format!("`{}` cannot be reused as an overlay", overlay.display()))
        .cause(format!("it is not a qcow2 image with the backing file `{}`", file.display()))
        .hint("make it with `qemu-img create -f qcow2 -b FILE -F FORMAT`"))
}

/// Refuses the name of an internal snapshot that a disk already contains and that no tree shows. A deleted one that
/// could be put back is discarded instead.
fn free_inside(engine: &Engine, machine: &Machine, name: &SnapshotName) -> Result<()> {
    let is_it = |snapshot: &Snapshot| snapshot.name == name.as_str();
    let gives_way = UndoLog::of(&machine.directory).entries().into_iter().any(|entry| match entry.kept {
        Kept::Deleted(deleted) => !deleted.metadata_only && deleted.snapshots.iter().any(is_it),
        _ => false,
    });
    for disk in machine.written_disks().into_iter().filter(|disk| disk.format == "qcow2") {
        if engine.hypervisor.count_internal(&disk.file, name.as_str())? > usize::from(gives_way) {
            let inside =
                format!("`{}` has a snapshot of that name inside, which the tree does not show", disk.file.display());
            return Err(Error::failed(format!("no internal snapshot of `{}` can be named `{name}`", machine.name))
                .cause(inside)
                .hint("give it another name; `qemu-img snapshot -l` lists what is inside"));
        }
    }
    Ok(())
}

impl Machine {
    /// Lists the disks that a snapshot is to hold.
    fn held_by(&self, request: &SnapshotRequest) -> Vec<DiskFile> {
        let is_held = |disk: &DiskFile| request.disks.iter().any(|(target, _)| *target == disk.target);
        self.written_disks().into_iter().filter(is_held).collect()
    }

    /// Lists the disks that take part: the target, the file, and the requested overlay.
    fn taking_part(&self, take: &NewSnapshot, kind: SnapshotKind) -> Result<Vec<(String, PathBuf, Option<PathBuf>)>> {
        let targets = || self.details.disks.iter().map(|disk| disk.target.as_str());
        if let Some(unknown) = take.disks.keys().find(|wanted| !targets().any(|target| target == wanted.as_str())) {
            let others = || format!("its disks are: {}", targets().collect::<Vec<_>>().join(", "));
            return Err(Error::failed(format!("`{}` has no disk `{unknown}`", self.name)).hint(did_you_mean(
                unknown,
                targets(),
                others,
            )));
        }
        let mut part = Vec::new();
        for disk in &self.details.disks {
            let overlay = match take.disks.get(&disk.target) {
                Some(DiskChoice::LeaveOut) => continue,
                Some(DiskChoice::TakePart(overlay)) => overlay.clone(),
                None if disk.takes_part() => None,
                None => continue,
            };
            preflight::disk(self, disk, kind)?;
            let file = disk.file().map(Path::to_path_buf).unwrap_or_default();
            part.push((disk.target.clone(), file, overlay));
        }
        if part.is_empty() {
            return Err(Error::failed(format!("no disk of `{}` takes part in the snapshot", self.name)).hint(format!(
                "`snaptree info {}` lists its disks; name one with `--diskspec`",
                shell::last(&self.name)
            )));
        }
        Ok(part)
    }
}

fn named_twice(file: &Path) -> Error {
    Error::usage(format!("`{}` would be two files of the snapshot", file.display()))
        .hint("give each disk, and the RAM, a file of its own")
}

fn no_overlay(machine: &Machine, target: &str) -> Error {
    Error::failed(format!("disk `{target}` of `{}` has no overlay to reuse", machine.name)).hint(format!(
        "name its file: `--diskspec {target},file=PATH`, in Lua `disks = {{ {target} = \"PATH\" }}`; or leave the disk out"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_asks_for_what_it_says() {
        let mut wanted = crate::tree::record::example::snapshot("sn01", None);
        wanted.memory = Memory::External("/vm/ram".into());
        let mut second = wanted.disks[0].clone();
        (second.target, second.kind, second.overlay) = ("vdb".into(), None, None);
        wanted.disks.push(second);
        let take = NewSnapshot::described(&wanted, SnapshotFlags::default());
        let disks = [
            ("vda".to_string(), DiskChoice::TakePart(Some("/vm/sn01.next".into()))),
            ("vdb".to_string(), DiskChoice::LeaveOut),
        ];
        assert_eq!(take.disks, BTreeMap::from(disks));
        assert_eq!((take.kind, take.memory_file), (Some(SnapshotKind::External), Some("/vm/ram".into())));
        wanted.memory = Memory::Internal;
        let take = NewSnapshot::described(&wanted, SnapshotFlags::default());
        assert_eq!((take.kind, take.memory_file), (Some(SnapshotKind::Internal), None));
    }
}
