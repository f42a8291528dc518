//! Why a node has to be built, as `plan` and `run` print it.

use std::fmt;

/// Why a node has to be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No node of that name exists.
    Missing,
    /// The parent of that name was rebuilt.
    Parent(String),
    /// Its inputs changed, or its remaining files cannot be used.
    Changed(String),
    /// An operation changed only in what looks like a time stamp or a random value.
    Chance { because: String, number: usize, operation: String },
}

/// The reason that `--rebuild` gives for a node that exists.
pub const ASKED_FOR: &str = "--rebuild asks for it";

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it does not exist yet"),
            Self::Parent(parent) => write!(f, "its parent `{parent}` was rebuilt"),
            Self::Changed(reason) | Self::Chance { because: reason, .. } => f.write_str(reason),
        }
    }
}
