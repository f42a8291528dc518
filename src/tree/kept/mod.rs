//! Everything that is kept outside of a machine's tree: for `undo`, for another try, for a later run.

pub mod change_name;
pub mod checkpoint;
pub mod failed_node;
pub mod files;
pub mod machine_state;
pub mod restores;
pub mod superseded_nodes;
pub mod undo_log;
