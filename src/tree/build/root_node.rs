//! The root of a tree, whatever it was made from: looked for, and put into the tree.

use std::time::Instant;

use crate::error::Result;
use crate::event::{Event, Subject};
use crate::hypervisor::{DiskState, Memory, SnapshotSpec};
use crate::name::{MachineName, SnapshotName};
use crate::tree::build::found::{Found, not_from_a_script};
use crate::tree::change::transaction::remembered;
use crate::tree::graft::prune::{deleted_build, prune};
use crate::tree::kept::superseded_nodes::SupersededNodes;
use crate::tree::kept::undo_log::UndoEntry;
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::record::node::{Node, Record};
use crate::tree::record::node_id::NodeId;
use crate::tree::record::reason::Reason;

/// A root that is put into the tree.
pub struct RootNode<'a> {
    pub id: NodeId,
    pub parent: Option<String>,
    pub comment: &'a str,
    pub is_current: bool,
    pub disks: Vec<DiskState>,
    /// What it was made from.
    pub payload: Vec<u8>,
    /// The machine's earlier state, if the root replaces it.
    pub undo: Option<UndoEntry>,
}

/// Looks for the root `name`; `changed` returns why it was made from something else.
pub fn find(
    machine: &Machine,
    name: &SnapshotName,
    changed: impl FnOnce(&Node, &Record) -> Result<Option<String>>,
) -> Result<Found> {
    let Some(node) = machine.node(name.as_str()) else {
        return Ok(Found::Needed(Reason::Missing));
    };
    let Some(record) = &node.record else {
        return Err(not_from_a_script(machine, name));
    };
    if let Some(incompatible) = record.incompatible() {
        return Ok(Found::Needed(incompatible));
    }
    if let Some(why) = changed(node, record)?.or_else(|| node.snapshot.missing_file()) {
        return Ok(Found::Needed(Reason::Changed(why)));
    }
    let (key, build) = (record.key.clone(), record.build.clone());
    Ok(Found::Cached(NodeId { machine: machine.name.clone(), name: name.clone(), key, build }))
}

/// Identifies a root that is about to be made.
pub fn identify(engine: &Engine, machine: &MachineName, name: &SnapshotName, key: String) -> Result<NodeId> {
    let before = engine.machine(machine)?.and_then(|machine| earlier_build(&machine, name, &key));
    let build = before.map_or_else(|| engine.store.new_id(), Ok)?;
    Ok(NodeId { machine: machine.clone(), name: name.clone(), key, build })
}

/// Puts a root whose making `started` then into the tree of its machine.
pub fn graft_root(engine: &Engine, machine: &Machine, root: RootNode<'_>, started: Instant) -> Result<NodeId> {
    let RootNode { id, parent, comment, is_current, disks, payload, undo } = root;
    let record = Record::of(&id, None, machine.directory.clone(), machine.is_ours);
    engine.hypervisor.define_snapshot(
        machine.name.as_str(),
        &SnapshotSpec {
            name: id.name.to_string(),
            parent,
            comment: comment.to_string(),
            created: crate::clock::now(),
            current: is_current,
            document: machine.details.document.clone(),
            disks,
            memory: Memory::No,
            metadata: record.write(Vec::new(), payload),
        },
    )?;
    prune(engine, &machine.name)?;
    if let Some(entry) = undo {
        remembered(engine, machine, entry)?;
    }
    let subject = Subject::node(&machine.name, &id.name);
    engine.events.emit(Event::NodeBuilt { subject, took: started.elapsed() });
    Ok(id)
}

/// Returns the build of a root that was deleted, or superseded by one of another key. A root is a copy of what its key
/// names, so nodes built on the old one are valid on the new one too.
fn earlier_build(machine: &Machine, name: &SnapshotName, key: &str) -> Option<String> {
    let has_key = |node: &Node| node.record.as_ref().is_some_and(|record| record.key == key);
    if machine.node(name.as_str()).is_some_and(has_key) {
        return None;
    }
    let superseded = || SupersededNodes::of(&machine.directory).named(name.as_str()).into_iter();
    let is_whole = |node: &Node| has_key(node) && node.snapshot.missing_file().is_none();
    deleted_build(machine, name, key).or_else(|| superseded().find(is_whole).map(|node| node.build()))
}
