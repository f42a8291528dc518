//! Commands that show machines, snapshots and logs.

pub mod current;
pub mod forks;
pub mod info;
pub mod list;
pub mod log;
pub mod tree;
