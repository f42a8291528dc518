//! Giving up what is kept besides the tree, for the space that it takes.

use std::path::{Path, PathBuf};

use super::aside::Aside;
use super::checkpoint::Trail;
use super::engine::{Engine, Machine};
use super::failed::Failed;
use super::restores::Restored;
use super::shelf::Shelf;
use crate::error::Result;
use crate::name::MachineName;

impl Engine {
    /// Says what a collection would give up, for somebody who is asked; nothing when there is nothing.
    pub fn what_gc_removes(&self, name: &MachineName) -> Result<Option<String>> {
        let machine = self.existing_now(name)?;
        let (changes, superseded, failed, trails) = machine.kept();
        let mut parts = Vec::new();
        if changes > 0 {
            parts.push(format!("{changes} {} of `{name}` that `undo` could take back", plural(changes, "change")));
        }
        if superseded > 0 {
            parts.push(format!("{superseded} superseded {} of `{name}`", plural(superseded, "snapshot")));
        }
        if failed > 0 {
            parts.push(format!("{failed} failed {} of `{name}`", if failed == 1 { "branch" } else { "branches" }));
        }
        if trails > 0 {
            parts.push(format!(
                "the check-points of {trails} {} of `{name}`",
                if trails == 1 { "branch" } else { "branches" }
            ));
        }
        Ok((!parts.is_empty()).then(|| parts.join(" and ")))
    }

    /// Gives up what `undo` could take back and the superseded and failed nodes with all check-points, and removes the
    /// files that nothing stands on then. Returns how many bytes that freed.
    pub fn gc(&self, name: &MachineName) -> Result<u64> {
        let machine = self.to_be_changed(name)?;
        let mut freed = 0;
        for entry in Shelf::of(&machine.directory).entries() {
            freed += self.forget(name, &entry)?;
        }
        let aside = Aside::of(&machine.directory);
        let nodes = aside.nodes();
        nodes.iter().for_each(|node| aside.forget(node));
        let drawer = Failed::drawer(&machine.directory);
        let failed = drawer.all();
        failed.iter().for_each(|failed| drop(drawer.take(&failed.name)));
        let drawer = Trail::drawer(&machine.directory);
        let trails = drawer.all();
        trails.iter().for_each(|trail| drop(drawer.take(&trail.name)));
        let of_failed = failed.iter().flat_map(Failed::files).chain(trails.iter().flat_map(Trail::files));
        let drawer = Restored::drawer(&machine.directory);
        let gone = |of: &Restored| machine.node(of.name.as_str()).is_none();
        drawer.all().iter().filter(|of| gone(of)).for_each(|of| drop(drawer.take(&of.name)));
        let files: Vec<PathBuf> =
            nodes.iter().flat_map(|node| node.snapshot.files()).map(Path::to_path_buf).chain(of_failed).collect();
        freed += self.collect(name, files.into_iter().filter(|file| machine.came_from_snapshots(file)).collect())?;
        self.changed(name);
        Ok(freed)
    }
}

impl Machine {
    /// Counts the changes that can be taken back, the superseded and the failed nodes, and the branches with
    /// check-points.
    fn kept(&self) -> (usize, usize, usize, usize) {
        let (shelf, aside) = (Shelf::of(&self.directory), Aside::of(&self.directory));
        let (failed, trails) = (Failed::drawer(&self.directory), Trail::drawer(&self.directory));
        (shelf.entries().len(), aside.nodes().len(), failed.all().len(), trails.all().len())
    }
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.to_string() } else { format!("{word}s") }
}
