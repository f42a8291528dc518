//! Where a script has a snapshot from.

use crate::tree::NodeId;

/// Where a script has a snapshot from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// This run grew it, or found it as it should be.
    Grown(NodeId),
    /// It was found, and may change until it is looked at.
    Found,
    /// It need not be there, because of this: a plan builds nothing, and `--only` leaves the rest alone.
    Hollow(&'static str),
}
