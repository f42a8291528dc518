//! Why a node has to be built, in the words that `plan` and `run` share.

use std::fmt;

/// Why a node has to be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing of that name is there.
    Missing,
    /// The parent of that name was built anew.
    Parent(String),
    /// What it is made of changed, or what is left of it cannot be used.
    Changed(String),
    /// An operation changed in nothing but what looks like a time stamp or a random value.
    Chance { because: String, number: usize, operation: String },
}

/// What `--rebuild` says of a node that exists.
pub const ASKED_FOR: &str = "--rebuild asks for it";

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it does not exist yet"),
            Self::Parent(parent) => write!(f, "its parent `{parent}` was built anew"),
            Self::Changed(reason) | Self::Chance { because: reason, .. } => f.write_str(reason),
        }
    }
}
