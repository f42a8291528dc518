//! A tree to display: plain data for text and JSON.

use serde::Serialize;

use crate::error::Result;
use crate::hypervisor::SnapshotKind;
use crate::name::MachineName;
use crate::tree::machine::engine::Engine;
use crate::tree::machine::filter::Filter;
use crate::tree::machine::machine::Machine;
use crate::tree::record::node::Node;

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
    pub kind: SnapshotKind,
    /// Whether it has RAM, so that a revert resumes the guest.
    pub live: bool,
    /// The node's key; none for a snapshot that no script made.
    pub key: Option<String>,
    /// The operations that made it, as text.
    pub operations: Vec<String>,
}

/// Returns one machine's tree, or that of every domain that has one.
pub fn trees(engine: &Engine, machine: Option<&MachineName>) -> Result<Vec<TreeView>> {
    if let Some(name) = machine {
        return Ok(vec![TreeView::selected(engine.existing(name)?.as_ref(), &Filter::default())?]);
    }
    let mut trees = Vec::new();
    for name in engine.names_of(|domain| domain.is_persistent)? {
        if let Some(machine) = engine.machine(&name)?
            && (machine.is_ours || !machine.nodes.is_empty())
        {
            trees.push(TreeView::selected(&machine, &Filter::default())?);
        }
    }
    Ok(trees)
}

impl TreeView {
    /// Returns a machine's selected snapshots.
    pub fn selected(machine: &Machine, filter: &Filter) -> Result<Self> {
        Ok(Self {
            machine: machine.name.to_string(),
            current: machine.current().map(|node| node.name().to_string()),
            snapshots: machine.select(filter)?.into_iter().map(SnapshotView::of).collect(),
        })
    }
}

impl SnapshotView {
    pub(in crate::tree) fn of(node: &Node) -> Self {
        let snapshot = &node.snapshot;
        Self {
            name: snapshot.name.clone(),
            parent: snapshot.parent.clone(),
            comment: snapshot.comment.clone(),
            created: snapshot.created,
            state: snapshot.state.clone(),
            current: snapshot.is_current,
            kind: snapshot.kind(),
            live: node.is_live(),
            key: node.record.as_ref().map(|record| record.key.clone()),
            operations: snapshot.metadata.as_ref().map(|metadata| metadata.lines.clone()).unwrap_or_default(),
        }
    }
}
