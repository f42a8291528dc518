//! Cleans up the records and files of earlier tries of a branch, once it is built.

use std::path::PathBuf;

use crate::error::Result;
use crate::name::{MachineName, SnapshotName};
use crate::tree::kept::checkpoint::{Trail, newest};
use crate::tree::kept::failed_node::FailedNode;
use crate::tree::machine::engine::Engine;
use crate::tree::owners::collect::collect;
use crate::tree::record::node_id::NodeId;

/// Records the checkpoints below a branch that was built, and discards what was kept for building it.
pub fn succeed(engine: &Engine, parent: &NodeId, name: &SnapshotName, mut trail: Trail) -> Result<()> {
    let directory = engine.existing(&parent.machine)?.directory.clone();
    let (trails, failures) = (Trail::json_dir(&directory), FailedNode::json_dir(&directory));
    trail.checkpoints = newest(trail.checkpoints);
    trail.journal.entries.truncate(trail.checkpoints.last().map_or(0, |last| last.operations));
    let mut files: Vec<PathBuf> = trails.take(name).iter().flat_map(Trail::files).collect();
    files.extend(failures.take(name).iter().flat_map(FailedNode::files));
    if !trail.checkpoints.is_empty() {
        trails.keep(name, &trail)?;
    }
    if files.is_empty() { Ok(()) } else { collect(engine, &parent.machine, files).map(drop) }
}

/// Forgets the failed node of a branch and removes its files if nothing else needs them.
pub fn forget_failed(engine: &Engine, machine: &MachineName, name: &SnapshotName) -> Result<()> {
    let directory = engine.existing(machine)?.directory.clone();
    if let Some(failed) = FailedNode::json_dir(&directory).take(name) {
        collect(engine, machine, failed.files())?;
    }
    Ok(())
}

/// Forgets the failed node of a branch that is up to date, unless another process builds in that tree.
pub fn forgive(engine: &Engine, machine: &MachineName, name: &SnapshotName) -> Result<()> {
    let is_failed = FailedNode::json_dir(&engine.existing(machine)?.directory).get(name).is_some();
    if is_failed && engine.store.claim_if_free(machine)? { forget_failed(engine, machine, name) } else { Ok(()) }
}
