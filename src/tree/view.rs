//! A tree as somebody looks at it: plain data for text and JSON.

use serde::Serialize;

use super::engine::{Engine, Machine};
use crate::error::Result;
use crate::name::MachineName;

/// One machine's tree. This is the schema of `snaptree tree --format json`.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct TreeView {
    pub machine: String,
    /// The name of the current snapshot.
    pub current: Option<String>,
    /// In the order in which they are drawn: each parent before its children, siblings by name.
    pub snapshots: Vec<SnapshotView>,
}

#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct SnapshotView {
    pub name: String,
    pub parent: Option<String>,
    pub comment: String,
    /// Seconds since the epoch.
    pub created: u64,
    /// libvirt's word: `shutoff`, `running`, `disk-snapshot`, ...
    pub state: String,
    pub current: bool,
    /// The node's key; none for a snapshot that no script made.
    pub key: Option<String>,
    /// The operations that made it, as text.
    pub operations: Vec<String>,
}

impl Engine {
    /// Looks at one machine's tree, or at every domain that has one.
    pub fn trees(&self, machine: Option<&MachineName>) -> Result<Vec<TreeView>> {
        if let Some(name) = machine {
            return Ok(vec![TreeView::of(self.existing(name)?.as_ref())]);
        }
        let mut names: Vec<String> =
            self.hypervisor.domains()?.into_iter().filter(|d| d.is_persistent).map(|d| d.name).collect();
        names.sort_by_key(|name| order(name));
        let mut trees = Vec::new();
        for name in names {
            // A name that snaptree would refuse can still be somebody's domain; it is left to virsh.
            let Ok(name) = MachineName::new(name) else { continue };
            if let Some(machine) = self.machine(&name)?
                && (machine.directory.is_some() || !machine.nodes.is_empty())
            {
                trees.push(TreeView::of(&machine));
            }
        }
        Ok(trees)
    }
}

/// Siblings are ordered as virsh orders them.
fn order(name: &str) -> (String, String) {
    (name.to_ascii_lowercase(), name.to_string())
}

impl TreeView {
    fn of(machine: &Machine) -> Self {
        let mut view = Self {
            machine: machine.name.to_string(),
            current: machine.nodes.iter().find(|node| node.snapshot.is_current).map(|node| node.name().to_string()),
            snapshots: Vec::with_capacity(machine.nodes.len()),
        };
        view.add(machine, None);
        view
    }

    fn add(&mut self, machine: &Machine, parent: Option<&str>) {
        let mut nodes: Vec<_> = machine.nodes.iter().filter(|node| node.snapshot.parent.as_deref() == parent).collect();
        nodes.sort_by_key(|node| order(node.name()));
        for node in nodes {
            self.snapshots.push(SnapshotView {
                name: node.name().to_string(),
                parent: node.snapshot.parent.clone(),
                comment: node.snapshot.comment.clone(),
                created: node.snapshot.created,
                state: node.snapshot.state.clone(),
                current: node.snapshot.is_current,
                key: node.record.as_ref().map(|record| record.key.clone()),
                operations: node.snapshot.metadata.as_ref().map(|m| m.lines.clone()).unwrap_or_default(),
            });
            self.add(machine, Some(node.name()));
        }
    }
}
