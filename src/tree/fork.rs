//! Forks: throw-away running clones of a snapshot.

use super::builder::{Builder, Purpose};
use super::engine::Engine;
use crate::error::Result;
use crate::name::SnapshotPath;

impl Engine {
    /// Boots a fork of a snapshot; it is gone when the returned value is dropped.
    pub fn fork(&self, path: &SnapshotPath) -> Result<Builder> {
        self.sweep(&path.machine)?;
        let machine = self.existing(&path.machine)?;
        let node = machine.existing(&path.snapshot)?;
        let layers = self.base(&machine, node)?;
        Builder::boot(self, &machine, &node.snapshot, &layers, path.snapshot.as_str(), Purpose::Fork)
    }
}
