//! Machines and snapshots to display: plain data for text, JSON and Lua.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::Result;
use crate::hypervisor::{Disk, Image, SnapshotKind, Source};
use crate::name::{MachineName, SnapshotPath};
use crate::tree::files::disk_usage::taken;
use crate::tree::kept::failed_node::FailedNode;
use crate::tree::kept::restores::{Restores, restores};
use crate::tree::machine::engine::Engine;
use crate::tree::machine::filter::order;
use crate::tree::machine::machine::Machine;
use crate::tree::view::forks::{ForkInfo, forks};
use crate::tree::view::log::{FailedView, failed_view};
use crate::tree::view::tree::SnapshotView;
use crate::tree::view::undo_list::UndoView;
use crate::tree::view::undo_list::undo_entries;

/// A machine in a list. This is the schema of `snaptree list --json`.
#[derive(Clone, Debug, Serialize)]
pub struct MachineView {
    pub name: String,
    pub uuid: String,
    /// libvirt's word: `running`, `paused`, `shutoff`, ...
    pub state: String,
    pub persistent: bool,
    pub snapshots: usize,
    /// The name of the current snapshot.
    pub current: Option<String>,
    /// Whether snaptree made the domain.
    pub ours: bool,
}

/// A machine in full. This is the schema of `snaptree info MACHINE --json`.
#[derive(Clone, Debug, Serialize)]
pub struct MachineInfo {
    #[serde(flatten)]
    pub machine: MachineView,
    /// In bytes.
    pub memory: u64,
    pub cpus: u32,
    pub disks: Vec<DiskInfo>,
    pub undo: Vec<UndoView>,
    /// The failed nodes: the last states of branches whose step failed.
    pub failed: Vec<FailedView>,
    /// The running forks of its snapshots.
    pub forks: Vec<ForkInfo>,
}

#[derive(Clone, Debug, Serialize)]
pub struct DiskInfo {
    pub target: String,
    /// `disk`, `cdrom`, ...
    pub device: String,
    /// The file, the device, or what else it is.
    pub source: Option<String>,
    pub format: String,
    pub read_only: bool,
    /// When the domain has it, if not always.
    pub only: Option<Only>,
    /// Its source at the next start, if different.
    pub next_source: Option<String>,
    /// Why a snapshot leaves out this disk by default, although the guest writes to it.
    pub left_out: Option<String>,
    /// The backing chain, the disk's own file first.
    pub chain: Vec<FileInfo>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Only {
    /// While it runs now.
    Running,
    /// From its next start on.
    NextStart,
}

#[derive(Clone, Debug, Serialize)]
pub struct FileInfo {
    pub path: PathBuf,
    /// Its disk usage on the host, in bytes; none if it is missing.
    pub size: Option<u64>,
}

/// A snapshot in full. This is the schema of `snaptree info MACHINE/SNAPSHOT --json`.
#[derive(Clone, Debug, Serialize)]
pub struct SnapshotInfo {
    pub machine: String,
    #[serde(flatten)]
    pub snapshot: SnapshotView,
    pub children: Vec<String>,
    /// How many snapshots are below it.
    pub descendants: usize,
    /// The disk usage of its own files on the host, in bytes: layers and RAM, without backing files.
    pub size: u64,
    /// The file with the RAM of an external snapshot.
    pub memory: Option<PathBuf>,
    /// What was done to guests that were resumed from it.
    pub restores: Restores,
    pub disks: Vec<SnapshotDiskInfo>,
}

#[derive(Clone, Debug, Serialize)]
pub struct SnapshotDiskInfo {
    pub target: String,
    /// How the snapshot holds it; none if it was left out.
    pub kind: Option<SnapshotKind>,
    /// The file that the disk had then.
    pub file: Option<PathBuf>,
    /// The file that the domain continued in.
    pub overlay: Option<PathBuf>,
    /// The backing chain, the file itself first.
    pub chain: Vec<FileInfo>,
}

impl MachineView {
    fn of(machine: &Machine) -> Self {
        Self {
            name: machine.name.to_string(),
            uuid: machine.details.domain.uuid.clone(),
            state: machine.details.domain.state.as_str().to_string(),
            persistent: machine.details.domain.is_persistent,
            snapshots: machine.nodes.len(),
            current: machine.current().map(|node| node.name().to_string()),
            ours: machine.is_ours,
        }
    }
}

/// Lists every domain.
pub fn machines(engine: &Engine) -> Result<Vec<MachineView>> {
    let mut machines = Vec::new();
    for name in engine.names()? {
        machines.extend(engine.look_again(&name)?.map(|machine| MachineView::of(&machine)));
    }
    Ok(machines)
}

pub fn machine_info(engine: &Engine, name: &MachineName) -> Result<MachineInfo> {
    let machine = engine.existing_now(name)?;
    let running = machine.details.disks.iter().map(|disk| {
        let next = machine.details.next_disks.iter().find(|next| next.target == disk.target);
        let next_source = next.map(|next| source(&next.source)).filter(|next| *next != source(&disk.source));
        let only = next.is_none().then_some(Only::Running);
        DiskInfo { only, next_source: next_source.map(Option::unwrap_or_default), ..disk_info(engine, disk) }
    });
    let next = machine.next_only().map(|disk| DiskInfo { only: Some(Only::NextStart), ..disk_info(engine, disk) });
    let disks = running.chain(next);
    Ok(MachineInfo {
        machine: MachineView::of(&machine),
        memory: machine.details.memory,
        cpus: machine.details.cpus,
        disks: disks.collect(),
        undo: undo_entries(engine, name)?,
        failed: FailedNode::json_dir(&machine.directory).all().iter().map(failed_view).collect(),
        forks: forks(engine, Some(name))?,
    })
}

fn disk_info(engine: &Engine, disk: &Disk) -> DiskInfo {
    DiskInfo {
        target: disk.target.clone(),
        device: disk.device.clone(),
        source: source(&disk.source),
        format: disk.format.clone(),
        read_only: disk.is_read_only,
        only: None,
        next_source: None,
        left_out: disk.left_out().map(str::to_string),
        chain: disk.image().map(|image| chain(engine, &image)).unwrap_or_default(),
    }
}

pub fn snapshot_info(engine: &Engine, path: &SnapshotPath) -> Result<SnapshotInfo> {
    let machine = engine.existing_now(&path.machine)?;
    let node = machine.existing(&path.snapshot)?;
    let snapshot = &node.snapshot;
    let disks: Vec<SnapshotDiskInfo> = snapshot
        .disks
        .iter()
        .map(|disk| SnapshotDiskInfo {
            target: disk.target.clone(),
            kind: disk.kind,
            file: disk.file.clone(),
            overlay: disk.overlay.clone(),
            chain: disk.file.as_deref().map(|file| chain(engine, &Image::new(file, &disk.format))).unwrap_or_default(),
        })
        .collect();
    let mut children: Vec<String> = machine.children(node.name()).map(|child| child.name().to_string()).collect();
    children.sort_by_key(|name| order(name));
    Ok(SnapshotInfo {
        machine: machine.name.to_string(),
        snapshot: SnapshotView::of(node),
        children,
        descendants: machine.descendants(node.name()).len(),
        size: node.size(),
        memory: snapshot.memory_files().next().map(Path::to_path_buf),
        restores: restores(&machine.directory, node),
        disks,
    })
}

/// Returns a snapshot's XML.
pub fn snapshot_xml(engine: &Engine, path: &SnapshotPath) -> Result<String> {
    Ok(engine.existing_now(&path.machine)?.existing(&path.snapshot)?.snapshot.document.0.clone())
}

/// Lists an image and its backing files, as far as they can be determined.
fn chain(engine: &Engine, image: &Image) -> Vec<FileInfo> {
    let below = engine.hypervisor.backing_chain(image).unwrap_or_default();
    let files = std::iter::once(image.clone()).chain(below).map(|image| image.file);
    files.map(|path| FileInfo { size: taken(&path), path }).collect()
}

fn source(source: &Source) -> Option<String> {
    match source {
        Source::File(path) | Source::Block(path) => Some(path.display().to_string()),
        Source::Volume { pool, volume } => Some(format!("{pool}/{volume}")),
        Source::Network(kind) | Source::Other(kind) => Some(kind.clone()),
        Source::None => None,
    }
}
