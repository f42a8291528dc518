//! The files that are kept outside of a tree.

use std::path::{Path, PathBuf};

use crate::hypervisor::Image;
use crate::tree::kept::checkpoint::{Checkpoint, Trail};
use crate::tree::kept::failed_node::FailedNode;
use crate::tree::kept::superseded_nodes::SupersededNodes;
use crate::tree::kept::undo_log::UndoLog;

/// Lists the files that are kept outside of the tree: of superseded and failed nodes and for `undo`.
pub fn kept_files(directory: &Path) -> Vec<PathBuf> {
    let aside = SupersededNodes::of(directory).nodes();
    let aside = aside.iter().flat_map(|node| node.snapshot.files()).map(Path::to_path_buf);
    let entries = UndoLog::of(directory).entries();
    let undo = entries.iter().flat_map(|entry| {
        entry.files().into_iter().chain(entry.unfinished.iter().flat_map(|unfinished| unfinished.made.clone()))
    });
    let failed = FailedNode::json_dir(directory).all().into_iter().flat_map(|failed| failed.files());
    let trails = Trail::json_dir(directory).all().into_iter().flat_map(|trail| trail.files());
    aside.chain(undo).chain(failed).chain(trails).collect()
}

/// Lists the images among them.
pub fn kept_images(directory: &Path) -> Vec<Image> {
    let aside = SupersededNodes::of(directory).nodes();
    let undo = UndoLog::of(directory).entries();
    let undo = undo.iter().flat_map(|entry| {
        let made = entry.unfinished.iter().flat_map(|unfinished| unfinished.made.iter().map(Image::qcow2));
        entry.images().into_iter().chain(made)
    });
    let failed = FailedNode::json_dir(directory).all().into_iter().flat_map(|failed| failed.images());
    let trails = Trail::json_dir(directory).all();
    let trails = trails.iter().flat_map(|trail| trail.checkpoints.iter().flat_map(Checkpoint::images));
    aside.iter().flat_map(|node| node.snapshot.images()).chain(undo).chain(failed).chain(trails).collect()
}
