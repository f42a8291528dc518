//! The actions of a script: making roots, growing and planning branches, taking and finding snapshots, forking.

pub mod branch;
pub mod build;
pub mod fork;
pub mod plan;
pub mod root;
pub mod step;
pub mod take;
pub mod tree;
