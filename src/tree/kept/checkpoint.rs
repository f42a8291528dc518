//! Kept checkpoints: states inside a step, from which a later try of it resumes.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::hypervisor::{DiskFile, Image};
use crate::name::SnapshotName;
use crate::tree::files::json_dir::JsonDir;
use crate::tree::record::journal::Journal;
use crate::tree::record::node::Parent;
use crate::tree::record::ram::KeptRam;

/// The most checkpoints that are kept for a branch.
const MOST: usize = 4;

/// The guest after the first operations of a step. Its disks were taken while it ran, after a sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// How many operations were carried out.
    pub operations: usize,
    pub layers: Vec<DiskFile>,
    /// Its RAM, if the builder keeps it.
    #[serde(default)]
    pub ram: KeptRam,
}

impl Checkpoint {
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.layers.iter().map(|layer| layer.file.clone()).chain(self.ram.files())
    }

    pub fn images(&self) -> impl Iterator<Item = Image> {
        self.layers.iter().map(DiskFile::image)
    }
}

/// The checkpoints below the layer of a branch that succeeded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trail {
    pub name: SnapshotName,
    #[serde(flatten)]
    pub parent: Parent,
    /// The operations up to the last checkpoint.
    pub journal: Journal,
    pub checkpoints: Vec<Checkpoint>,
}

impl Trail {
    pub fn json_dir(machine_directory: &Path) -> JsonDir<Self> {
        JsonDir::of(machine_directory, "checkpoints")
    }

    pub fn files(&self) -> Vec<PathBuf> {
        files(&self.checkpoints)
    }
}

/// Lists the files that checkpoints keep.
pub fn files(checkpoints: &[Checkpoint]) -> Vec<PathBuf> {
    checkpoints.iter().flat_map(Checkpoint::files).collect()
}

/// Returns the newest checkpoints, as many as are kept.
pub fn newest(mut checkpoints: Vec<Checkpoint>) -> Vec<Checkpoint> {
    checkpoints.split_off(checkpoints.len().saturating_sub(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_are_kept() {
        let checkpoint = |operations| Checkpoint { operations, layers: Vec::new(), ram: KeptRam::NONE };
        let numbers =
            |count: usize| newest((1..=count).map(checkpoint).collect()).iter().map(|it| it.operations).collect();
        let (few, many): (Vec<usize>, Vec<usize>) = (numbers(3), numbers(6));
        assert_eq!((few, many), (vec![1, 2, 3], vec![3, 4, 5, 6]));
    }
}
