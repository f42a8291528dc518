//! Roots that stand for the state of a shut-off domain that snaptree did not create. Neither the domain nor its files
//! are touched.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::error::{Because, Error, Result};
use crate::event::{Event, Subject};
use crate::hypervisor::{DiskState, Memory, SnapshotSpec};
use crate::name::{MachineName, SnapshotName};
use crate::tree::build::found::{Found, not_from_a_script};
use crate::tree::build::root::new_root;
use crate::tree::change::preflight;
use crate::tree::clone::origin::refuse_clone;
use crate::tree::files::store::seal;
use crate::tree::graft::prune::{make_room, prune};
use crate::tree::machine::engine::Engine;
use crate::tree::machine::seen::Machine;
use crate::tree::record::digest::digest;
use crate::tree::record::key::SCHEMA;
use crate::tree::record::node::Record;
use crate::tree::record::node_id::NodeId;
use crate::tree::record::reason::Reason;

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

impl Engine {
    /// Looks for the root `name` that stands for the state of a shut-off domain.
    pub fn find_state_root(&self, machine: &MachineName, name: &SnapshotName) -> Result<Found> {
        let machine = self.existing_now(machine)?;
        let Some(node) = machine.node(name.as_str()) else {
            return Ok(Found::Needed(Reason::Missing));
        };
        let Some(record) = &node.record else {
            return Err(not_from_a_script(&machine, name));
        };
        if let Some(incompatible) = record.incompatible() {
            return Ok(Found::Needed(incompatible));
        }
        let payload = node.snapshot.metadata.as_ref().map(|metadata| metadata.payload.as_slice());
        let Ok(was) = serde_json::from_slice::<StateKey>(payload.unwrap_or_default()) else {
            return Err(Error::failed(format!("`{}/{name}` is not the root of an opened machine", machine.name))
                .hint("give the root another name"));
        };
        let now = self.state_key(&machine)?;
        if let Some(reason) = was.difference(&now).or_else(|| node.snapshot.missing_file()) {
            return Ok(Found::Needed(Reason::Changed(reason)));
        }
        let (key, build) = (record.key.clone(), record.build.clone());
        Ok(Found::Cached(NodeId { machine: machine.name.clone(), name: name.clone(), key, build }))
    }

    /// Copies the disks of a domain that is shut off, as a root below its current snapshot.
    pub fn make_state_root(&self, machine: &MachineName, name: &SnapshotName, comment: &str) -> Result<NodeId> {
        let started = Instant::now();
        let machine = self.existing_now(machine)?;
        if machine.is_active() {
            return Err(Error::failed(format!("`{}` is running, and its disks change", machine.name))
                .hint("shut it down, or take a snapshot of it and branch from that"));
        }
        let cannot = || Error::failed(format!("`{}` cannot be cloned", machine.name));
        refuse_clone(self, &machine, cannot, &machine.details.document, false)?;
        preflight::managed_save(&machine)?;
        preflight::copy(&machine)?;
        let key = self.state_key(&machine)?;
        self.store.create_directory(&machine.directory)?;
        let mut disks = Vec::new();
        for disk in machine.written_disks() {
            let layer = self.store.new_file(&machine.directory, &name.slug(), "qcow2")?;
            self.hypervisor.copy_image(&disk.image(), &layer, None)?;
            seal(&layer)?;
            disks.push(DiskState { target: disk.target, overlay: layer.with_extension("next"), layer });
        }
        if self.state_key(&machine)? != key {
            return Err(Error::failed(format!("the disks of `{}` changed while they were copied", machine.name))
                .hint("end what writes to them, and run this again"));
        }
        let payload = serde_json::to_vec(&key).map_err(|cause| Error::bug("a state's key").cause(cause))?;
        let node = new_root(self, &machine.name, name, digest(&key))?;
        let current = make_room(self, &machine, name.as_str())?;
        let parent = machine
            .node(name.as_str())
            .map_or_else(|| machine.current().map(|node| node.name().to_string()), |old| old.snapshot.parent.clone());
        let record = Record::of(&node, None, machine.directory.clone(), machine.is_ours);
        self.hypervisor.redefine_snapshot(
            machine.name.as_str(),
            &SnapshotSpec {
                name: name.to_string(),
                parent,
                comment: comment.to_string(),
                created: crate::clock::now(),
                current,
                document: machine.details.document.clone(),
                disks,
                memory: Memory::No,
                metadata: record.write(Vec::new(), payload),
            },
        )?;
        prune(self, &machine.name)?;
        let subject = Subject::node(&machine.name, name);
        self.events.emit(Event::NodeBuilt { subject, took: started.elapsed() });
        Ok(node)
    }

    /// Identifies a domain's state by its XML and by when its files were written to: its disks, their backing files,
    /// and their external data files.
    fn state_key(&self, machine: &Machine) -> Result<StateKey> {
        let mut disks = Vec::new();
        for disk in machine.written_disks() {
            let cannot = || format!("cannot look at disk `{}` of `{}`", disk.target, machine.name);
            let mut images = vec![disk.image()];
            images.extend(self.hypervisor.backing_chain(&disk.image())?);
            for image in images {
                let data = self.hypervisor.data_file(&image)?;
                for file in std::iter::once(image.file).chain(data) {
                    let metadata = std::fs::metadata(&file).because(cannot)?;
                    let written = (metadata.mtime(), metadata.mtime_nsec());
                    disks.push(DiskStamp { target: disk.target.clone(), file, size: metadata.size(), written });
                }
            }
        }
        Ok(StateKey { schema: SCHEMA, description: digest(&machine.details.document), disks })
    }
}

impl StateKey {
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
