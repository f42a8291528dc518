//! Building nodes: roots, branches, forks.

pub mod aftermath;
pub mod branch;
pub mod branch_spec;
pub mod failed_step;
pub mod fork;
pub mod found;
pub mod recall;
pub mod resume;
pub mod root;
pub mod root_node;
pub mod stale;
pub mod state_root;
pub mod stop_forks;
pub mod working_fork;
