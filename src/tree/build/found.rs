//! The result of looking for a node.

use crate::error::Error;
use crate::name::SnapshotName;
use crate::tree::machine::machine::Machine;
use crate::tree::record::node_id::NodeId;
use crate::tree::record::reason::Reason;

/// The result of looking for a node.
#[derive(Debug, PartialEq)]
pub enum Found {
    Cached(NodeId),
    /// A plan found it among the superseded nodes, from which a run takes it back.
    KeptAside(NodeId),
    /// It has to be built, for this reason.
    Needed(Reason),
}

pub fn not_from_a_script(machine: &Machine, name: &SnapshotName) -> Error {
    Error::failed(format!("a snapshot `{name}` exists already in `{}`, and no script made it", machine.name))
        .hint("give yours another name; nothing was changed")
}
