//! The metadata of a node: its operations, its key, and how two nodes differ.

pub mod definition;
pub mod difference;
pub mod digest;
#[cfg(test)]
pub mod example;
pub mod host_files;
pub mod journal;
pub mod key;
pub mod node;
pub mod node_id;
pub mod nondeterminism;
pub mod operation;
pub mod ram;
pub mod reason;
pub mod replay;
