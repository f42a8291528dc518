//! The primitives for any domain: taking, reverting to and deleting snapshots, and undoing that.

pub mod delete;
pub mod delete_machine;
pub mod gc;
pub mod new_files;
pub mod new_snapshot;
pub mod power;
pub mod preflight;
pub mod preflight_revert;
pub mod present;
pub mod revert;
pub mod transaction;
pub mod undo;
