//! How a script got a snapshot.

use crate::tree::{NodeId, Placeholder};

/// How a script got a snapshot.
#[derive(Clone, Debug)]
pub enum SnapshotOrigin {
    /// This run built it, or reused it.
    Grown(NodeId),
    /// The script found it; it may change until it is looked at.
    Found,
    /// It need not exist, for this reason: a plan builds nothing, and `--only` skips the rest.
    Hollow(Placeholder),
}
