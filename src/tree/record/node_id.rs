//! The name of a node.

use crate::name::{MachineName, SnapshotName};

/// A node that this run has found or made, identified by its place, its content and its build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeId {
    pub machine: MachineName,
    pub name: SnapshotName,
    pub key: String,
    /// Empty if none was recorded.
    pub build: String,
}
