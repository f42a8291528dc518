//! Ends a build whose step failed: its last state becomes the branch's failed node.

use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::name::SnapshotPath;
use crate::tree::build::aftermath::forget_failed;
use crate::tree::build::branch::Build;
use crate::tree::clone::running::BuildOutput;
use crate::tree::kept::checkpoint::{Checkpoint, newest};
use crate::tree::kept::failed_node::{FailedNode, failed_node};
use crate::tree::machine::engine::Engine;
use crate::tree::owners::collect::collect;
use crate::tree::record::node_id::NodeId;

/// Returns whether this branch has a failed node.
pub fn has_failed(engine: &Engine, path: &SnapshotPath) -> Result<bool> {
    let machine = engine.existing(&path.machine)?;
    Ok(failed_node(&machine.name, &machine.directory, &path.snapshot).is_ok())
}

/// Ends a build whose step failed. Its last state becomes the branch's failed node, unless nothing is to be `kept`
/// or the user stopped it. Returns whether it did.
pub fn give_up(engine: &Engine, parent: &NodeId, build: Build, error: &Error, kept: bool) -> bool {
    let wanted = Arc::clone(&build.wanted);
    let name = &wanted.name;
    if error.kind == Kind::Interrupted || engine.interrupt.is_raised() {
        return false;
    }
    let kept = if kept { keep_failed(engine, parent, build, error).map(|()| true) } else { Ok(false) };
    let ended = kept.and_then(|kept| {
        if !kept {
            forget_failed(engine, &parent.machine, name)?;
        }
        Ok(kept)
    });
    // The step's own error matters more.
    ended.unwrap_or_else(|why| {
        engine.events.note(format!("the last state of `{}/{name}` could not be kept: {why}", parent.machine));
        false
    })
}

fn keep_failed(engine: &Engine, parent: &NodeId, build: Build, error: &Error) -> Result<()> {
    let machine = engine.existing(&parent.machine)?;
    let document = machine.existing(&parent.name)?.snapshot.document.clone();
    let journal = build.journal();
    let Build { session, wanted, builder, .. } = build;
    let (name, attempt, is_recorded) = (&wanted.name, session.attempt(), session.is_recorded());
    let BuildOutput { layers, ram, is_whole, mut checkpoints } = builder.keep(engine, &machine)?;
    let operations = journal.entries.len();
    if is_recorded && is_whole && checkpoints.last().is_none_or(|last| last.operations < operations) {
        checkpoints.push(Checkpoint { operations, layers: layers.clone(), ram: ram.clone() });
    }
    let failed = FailedNode {
        name: name.clone(),
        parent: parent.into(),
        when: crate::clock::now(),
        error: error.to_string(),
        went_on: session.matched() > 0,
        journal,
        attempt,
        document,
        layers,
        ram,
        checkpoints: newest(checkpoints),
    };
    let json_dir = FailedNode::json_dir(&machine.directory);
    let before = json_dir.get(name);
    json_dir.keep(name, &failed)?;
    if let Some(before) = before {
        collect(engine, &parent.machine, before.files())?;
    }
    Ok(())
}
