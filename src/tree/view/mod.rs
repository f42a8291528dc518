//! Plain data to display, as text, JSON or Lua.

pub mod doctor;
pub mod drawing;
pub mod forks;
pub mod info;
pub mod log;
pub mod plan;
pub mod tree;
pub mod undo_list;
