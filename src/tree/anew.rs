//! What this process built in place of something else, so that what stood on it is built again too.

use std::collections::HashSet;

use super::engine::{Engine, NodeId};
use super::node::Node;
use crate::name::{MachineName, SnapshotName};

/// Nodes that were replaced, and nodes that left the tree because of that.
#[derive(Default)]
pub struct Anew {
    built: HashSet<(MachineName, SnapshotName)>,
    gone: HashSet<(MachineName, String)>,
}

impl Anew {
    /// Says whether a node was built in place of another one, which may have had the same key.
    pub fn has(&self, node: &NodeId) -> bool {
        // Nearly always nothing was built, and nothing has to be copied to find that out.
        !self.built.is_empty() && self.built.contains(&(node.machine.clone(), node.name.clone()))
    }

    pub fn are_gone(&mut self, machine: &MachineName, nodes: &[&Node]) {
        self.gone.extend(nodes.iter().map(|node| (machine.clone(), node.name().to_string())));
    }

    /// Says whether a node was in the tree until what it stood on was built anew.
    pub fn is_gone(&self, machine: &MachineName, name: &str) -> bool {
        !self.gone.is_empty() && self.gone.contains(&(machine.clone(), name.to_string()))
    }
}

impl Engine {
    pub(super) fn built_anew(&self, machine: &MachineName, name: &SnapshotName) {
        self.anew().built.insert((machine.clone(), name.clone()));
    }
}
