//! Forks: throw-away running clones of a snapshot.

use super::builder::{Builder, Purpose};
use super::engine::Engine;
use crate::error::{Error, Result};
use crate::name::SnapshotPath;

impl Engine {
    /// Boots a fork of a snapshot; it is gone when the returned value is dropped.
    pub fn fork(&self, path: &SnapshotPath) -> Result<Builder> {
        self.sweep(&path.machine)?;
        let machine = self.existing(&path.machine)?;
        let node = machine.existing(&path.snapshot).map_err(|error| match machine.failed(&path.snapshot) {
            Ok(_) => error.hint("its step failed: `--failed` is what is left of it"),
            Err(_) => error,
        })?;
        let layers = self.base(&machine, node)?;
        Builder::boot(self, &machine, &node.snapshot.document, &layers, &path.snapshot, Purpose::Fork)
    }
    /// Boots a fork of what is left of a branch whose step failed.
    pub fn fork_failed(&self, path: &SnapshotPath) -> Result<Builder> {
        self.sweep(&path.machine)?;
        let machine = self.existing(&path.machine)?;
        let failed = machine.failed(&path.snapshot)?;
        if let Some(missing) = failed.layers.iter().find(|layer| !layer.file.exists()) {
            return Err(Error::failed(format!("the failed `{path}` cannot be cloned"))
                .cause(format!("its layer `{}` is missing", missing.file.display())));
        }
        Builder::boot(self, &machine, &failed.document, &failed.layers, &path.snapshot, Purpose::Fork)
    }
}
