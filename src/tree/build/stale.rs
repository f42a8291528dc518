//! What makes a node stale before its step has run. Whether the step still does the same is decided by replaying it.

use crate::tree::build::branch_spec::{BranchSpec, other_liveness};
use crate::tree::record::journal::Journal;
use crate::tree::record::node::{Node, Record};
use crate::tree::record::node_id::NodeId;
use crate::tree::record::reason::Reason;

/// Returns why a node cannot be what any step on `parent` builds.
pub fn stale(node: &Node, record: &Record, parent: &NodeId) -> Option<Reason> {
    if let Some(reason) = record.incompatible() {
        return Some(reason);
    }
    let was = record.built_on.as_ref().map_or("none", |was| &was.name);
    if record.fits(parent) {
        node.snapshot.missing_file().map(Reason::Changed)
    } else if was != parent.name.as_str() {
        Some(Reason::Changed(format!("its parent was `{was}`, is now `{}`", parent.name)))
    } else {
        Some(Reason::Parent(parent.name.to_string()))
    }
}

/// Returns why a node cannot be the branch that is wanted: its inputs, its age, or whether it has RAM.
pub fn unwanted(node: &Node, journal: &Journal, wanted: &BranchSpec) -> Option<String> {
    let refused = wanted.refuses(journal, node.snapshot.created);
    refused.or_else(|| other_liveness(wanted.live, node.is_live()))
}
