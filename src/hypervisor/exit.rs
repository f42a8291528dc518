//! The end of a command.

/// How a command ended: its exit status, or 128 plus the signal that killed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub i32);
