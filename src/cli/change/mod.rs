//! Commands that take snapshots, and change or remove them.

pub mod delete;
pub mod edit;
pub mod gc;
pub mod revert;
pub mod snapshot;
pub mod spec;
pub mod undo;
