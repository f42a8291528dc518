//! What a script does: it makes roots, grows and plans branches, takes and finds snapshots, forks.

pub mod branch;
pub mod build;
pub mod fork;
pub mod plan;
pub mod root;
pub mod step;
pub mod take;
pub mod tree;
