//! Roots that stand for the state of a shut-off domain that snaptree did not create. Neither the domain nor its files
//! are touched.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::error::{Because, Error, Result};
use crate::hypervisor::DiskState;
use crate::name::{MachineName, SnapshotName};
use crate::tree::build::found::Found;
use crate::tree::build::root_node::{self, RootNode};
use crate::tree::change::preflight;
use crate::tree::clone::origin::refuse_clone;
use crate::tree::files::store::seal;
use crate::tree::graft::prune::make_room;
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::record::digest::digest;
use crate::tree::record::key::SCHEMA;
use crate::tree::record::node_id::NodeId;

/// The identity of a shut-off domain's state.
#[derive(Serialize, Deserialize, PartialEq)]
struct StateKey {
    schema: u32,
    /// The digest of the domain's XML.
    description: String,
    disks: Vec<DiskStamp>,
}

#[derive(Serialize, Deserialize, PartialEq)]
struct DiskStamp {
    target: String,
    file: PathBuf,
    size: u64,
    /// When the file was last written to: seconds and nanoseconds.
    written: (i64, i64),
}

/// Looks for the root `name` that stands for the state of a shut-off domain.
pub fn find_state_root(engine: &Engine, machine: &MachineName, name: &SnapshotName) -> Result<Found> {
    let machine = engine.existing_now(machine)?;
    root_node::find(&machine, name, |node, _| {
        let payload = node.snapshot.metadata.as_ref().map(|metadata| metadata.payload.as_slice());
        let Ok(was) = serde_json::from_slice::<StateKey>(payload.unwrap_or_default()) else {
            return Err(Error::failed(format!("`{}/{name}` is not the root of an opened machine", machine.name))
                .hint("give the root another name"));
        };
        Ok(was.difference(&StateKey::of(engine, &machine)?))
    })
}

/// Copies the disks of a domain that is shut off, as a root below its current snapshot.
pub fn make_state_root(engine: &Engine, machine: &MachineName, name: &SnapshotName, comment: &str) -> Result<NodeId> {
    let started = Instant::now();
    let machine = engine.existing_now(machine)?;
    if machine.is_active() {
        return Err(Error::failed(format!("`{}` is running, and its disks change", machine.name))
            .hint("shut it down, or take a snapshot of it and branch from that"));
    }
    let cannot = || Error::failed(format!("`{}` cannot be cloned", machine.name));
    refuse_clone(engine, &machine, cannot, &machine.details.document, false)?;
    preflight::managed_save(&machine)?;
    preflight::copy(&machine)?;
    let key = StateKey::of(engine, &machine)?;
    engine.store.create_directory(&machine.directory)?;
    let mut disks = Vec::new();
    for disk in machine.written_disks() {
        let layer = engine.store.new_file(&machine.directory, &name.slug(), "qcow2")?;
        engine.hypervisor.copy_image(&disk.image(), &layer, None)?;
        seal(&layer)?;
        disks.push(DiskState { target: disk.target, overlay: layer.with_extension("next"), layer });
    }
    if StateKey::of(engine, &machine)? != key {
        return Err(Error::failed(format!("the disks of `{}` changed while they were copied", machine.name))
            .hint("end what writes to them, and run this again"));
    }
    let payload = serde_json::to_vec(&key).map_err(|cause| Error::bug("a state's key").cause(cause))?;
    let id = root_node::identify(engine, &machine.name, name, digest(&key))?;
    let is_current = make_room(engine, &machine, name.as_str())?;
    let parent = machine
        .node(name.as_str())
        .map_or_else(|| machine.current().map(|node| node.name().to_string()), |old| old.snapshot.parent.clone());
    let root = RootNode { id, parent, comment, is_current, disks, payload, undo: None };
    root_node::graft_root(engine, &machine, root, started)
}

impl StateKey {
    /// Identifies a domain's state by its XML and by when its files were written to: its disks, their backing files,
    /// and their external data files.
    fn of(engine: &Engine, machine: &Machine) -> Result<Self> {
        let mut disks = Vec::new();
        for disk in machine.written_disks() {
            let cannot = || format!("cannot look at disk `{}` of `{}`", disk.target, machine.name);
            let mut images = vec![disk.image()];
            images.extend(engine.hypervisor.backing_chain(&disk.image())?);
            for image in images {
                let data = engine.hypervisor.data_file(&image)?;
                for file in std::iter::once(image.file).chain(data) {
                    let metadata = std::fs::metadata(&file).because(cannot)?;
                    let written = (metadata.mtime(), metadata.mtime_nsec());
                    disks.push(DiskStamp { target: disk.target.clone(), file, size: metadata.size(), written });
                }
            }
        }
        Ok(Self { schema: SCHEMA, description: digest(&machine.details.document), disks })
    }

    /// Describes what changed between two states.
    fn difference(&self, now: &Self) -> Option<String> {
        if self == now {
            return None;
        }
        let written = now.disks.iter().find(|disk| !self.disks.contains(disk));
        Some(match written {
            Some(disk) => format!("disk `{}` was written to since", disk.target),
            None => "the domain's description changed".to_string(),
        })
    }
}
