//! Commands that show what there is.

pub mod current;
pub mod info;
pub mod list;
pub mod log;
pub mod tree;
