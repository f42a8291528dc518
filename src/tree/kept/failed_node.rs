//! Failed nodes: the last state of a failed step, kept outside of the tree until its branch fails again or is built.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::hypervisor::{DiskFile, Document, Image};
use crate::name::{MachineName, SnapshotName};
use crate::nearest::did_you_mean;
use crate::shell;
use crate::tree::files::json_dir::JsonDir;
use crate::tree::kept::checkpoint::{Checkpoint, files};
use crate::tree::record::journal::{Attempt, Journal};
use crate::tree::record::node::Parent;
use crate::tree::record::ram::KeptRam;

/// The last failed build of a branch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FailedNode {
    pub name: SnapshotName,
    #[serde(flatten)]
    pub parent: Parent,
    /// When it failed, in seconds since the epoch.
    pub when: u64,
    /// The whole text of the error.
    pub error: String,
    /// The operations that succeeded.
    pub journal: Journal,
    /// The operation that failed, if one did.
    pub attempt: Option<Attempt>,
    /// The XML of the domain, for forks of it.
    pub document: Document,
    /// The builder's disks in their last state.
    pub layers: Vec<DiskFile>,
    /// Its RAM, if it was kept.
    #[serde(default)]
    pub ram: KeptRam,
    /// Checkpoints from which a new try may resume.
    pub checkpoints: Vec<Checkpoint>,
    /// Whether this try had resumed from an earlier one.
    pub went_on: bool,
}

impl FailedNode {
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
pub fn failed_node(machine: &MachineName, directory: &Path, name: &SnapshotName) -> Result<FailedNode> {
    let json_dir = FailedNode::json_dir(directory);
    json_dir.get(name).ok_or_else(|| {
        let all = json_dir.all();
        let others = || match &all[..] {
            [] => "a branch whose step failed is kept until it is built; `run --on-error clean` keeps none".to_string(),
            _ => format!("`snaptree info {}` lists what failed", shell::last(machine)),
        };
        Error::failed(format!("there is no failed `{name}` in `{machine}`")).hint(did_you_mean(
            name.as_str(),
            all.iter().map(|failed| failed.name.as_str()),
            others,
        ))
    })
}
