//! Frees disk space by deleting everything that is kept besides the tree.

use std::path::Path;

use crate::error::Result;
use crate::name::MachineName;
use crate::tree::change::transaction::{take_off, to_be_changed};
use crate::tree::kept::checkpoint::Trail;
use crate::tree::kept::failed_node::FailedNode;
use crate::tree::kept::restores::Restored;
use crate::tree::kept::superseded_nodes::SupersededNodes;
use crate::tree::kept::undo_log::UndoLog;
use crate::tree::machine::engine::Engine;
use crate::tree::owners::collect::{Collected, collect};

/// What is kept besides a machine's tree, counted.
pub struct GcPreview {
    /// The changes that `undo` could undo.
    pub changes: usize,
    pub superseded: usize,
    pub failed: usize,
    /// The branches that have checkpoints.
    pub checkpointed: usize,
}

/// Counts what a collection would delete.
pub fn preview_gc(engine: &Engine, name: &MachineName) -> Result<GcPreview> {
    let directory = &engine.existing_now(name)?.directory;
    Ok(GcPreview {
        changes: UndoLog::of(directory).entries().len(),
        superseded: SupersededNodes::of(directory).nodes().len(),
        failed: FailedNode::json_dir(directory).all().len(),
        checkpointed: Trail::json_dir(directory).all().len(),
    })
}

/// Deletes the undo history, the superseded and failed nodes and all checkpoints, and removes the files that
/// snaptree made and that nothing depends on then.
pub fn gc(engine: &Engine, name: &MachineName) -> Result<Collected> {
    let machine = to_be_changed(engine, name)?;
    let undo_log = UndoLog::of(&machine.directory);
    let (mut files, mut left) = (Vec::new(), Vec::new());
    for entry in undo_log.entries() {
        let (loose, holding) = take_off(engine, &machine, &entry)?;
        files.extend(loose);
        left.extend(holding);
    }
    let aside = SupersededNodes::of(&machine.directory);
    let nodes = aside.nodes();
    nodes.iter().for_each(|node| aside.forget(node));
    files.extend(nodes.iter().flat_map(|node| node.snapshot.files()).map(Path::to_path_buf));
    let json_dir = FailedNode::json_dir(&machine.directory);
    let failed = json_dir.all();
    failed.iter().for_each(|failed| drop(json_dir.take(&failed.name)));
    let json_dir = Trail::json_dir(&machine.directory);
    let trails = json_dir.all();
    trails.iter().for_each(|trail| drop(json_dir.take(&trail.name)));
    files.extend(failed.iter().flat_map(FailedNode::files).chain(trails.iter().flat_map(Trail::files)));
    let json_dir = Restored::json_dir(&machine.directory);
    let gone = |of: &Restored| machine.node(of.name.as_str()).is_none();
    json_dir.all().iter().filter(|of| gone(of)).for_each(|of| drop(json_dir.take(&of.name)));
    let mut collected = collect(engine, name, files)?;
    collected.left.extend(left);
    engine.changed(name);
    Ok(collected)
}

/// Removes files that an earlier collection had to leave, unless another process is working in that tree.
pub fn collect_leftovers(engine: &Engine, name: &MachineName) -> Result<Collected> {
    let machine = engine.existing(name)?;
    if UndoLog::of(&machine.directory).leftovers().is_empty() || !engine.store.claim_if_free(name)? {
        return Ok(Collected::default());
    }
    collect(engine, name, Vec::new())
}
