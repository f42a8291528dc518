//! What is kept outside of a machine's tree: for `undo`, for another try, for a later run.

pub mod restores;
pub mod superseded;
pub mod undo_log;
