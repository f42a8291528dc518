//! What is recorded of a node: its operations, its key, and why another one differs.

pub mod difference;
pub mod host_files;
pub mod journal;
pub mod key;
pub mod node;
pub mod nondeterminism;
pub mod operation;
pub mod reason;
