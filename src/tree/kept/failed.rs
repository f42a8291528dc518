//! Failed nodes: what is left of a step that failed, outside of the tree, until its branch fails again or is built.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::hypervisor::{DiskFile, Document, Image};
use crate::name::{MachineName, SnapshotName};
use crate::nearest::nearest;
use crate::shell;
use crate::tree::files::json_dir::JsonDir;
use crate::tree::kept::checkpoint::{Checkpoint, files};
use crate::tree::record::journal::{Attempt, Journal};
use crate::tree::record::node::Parent;
use crate::tree::record::ram::KeptRam;

/// What is left of the last step that failed on a branch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failed {
    pub name: SnapshotName,
    #[serde(flatten)]
    pub parent: Parent,
    /// When it failed, in seconds since the epoch.
    pub when: u64,
    /// The whole text of the error.
    pub error: String,
    /// The operations that succeeded.
    pub journal: Journal,
    /// The operation that failed, where it was one.
    pub attempt: Option<Attempt>,
    /// The domain that a fork of it is made from.
    pub document: Document,
    /// The builder's disks as they were left.
    pub layers: Vec<DiskFile>,
    /// Its RAM, where it was kept.
    #[serde(default)]
    pub ram: KeptRam,
    /// From where a new try may go on.
    pub checkpoints: Vec<Checkpoint>,
    /// Whether this try had gone on from an earlier one.
    pub went_on: bool,
}

impl Failed {
    pub fn json_dir(machine_directory: &Path) -> JsonDir<Self> {
        JsonDir::of(machine_directory, "failed")
    }

    /// Lists the files that it keeps.
    pub fn files(&self) -> Vec<PathBuf> {
        let layers = self.layers.iter().map(|layer| layer.file.clone());
        layers.chain(self.ram.files()).chain(files(&self.checkpoints)).collect()
    }

    pub fn images(&self) -> Vec<Image> {
        let layers = self.layers.iter().map(DiskFile::image);
        layers.chain(self.checkpoints.iter().flat_map(Checkpoint::images)).collect()
    }
}

/// Returns a failed node that has to exist.
pub fn failed_node(machine: &MachineName, directory: &Path, name: &SnapshotName) -> Result<Failed> {
    let json_dir = Failed::json_dir(directory);
    json_dir.get(name).ok_or_else(|| {
        let all = json_dir.all();
        let error = Error::failed(format!("there is no failed `{name}` in `{}`", machine));
        match nearest(name.as_str(), all.iter().map(|failed| failed.name.as_str())) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None if all.is_empty() => {
                error.hint("a branch whose step failed is kept until it is built; `run --on-error clean` keeps none")
            }
            None => error.hint(format!("`snaptree info {}` lists what failed", shell::last(machine))),
        }
    })
}
