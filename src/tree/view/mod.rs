//! What somebody looks at: plain data for text, JSON and Lua.

pub mod doctor;
pub mod drawing;
pub mod info;
pub mod log;
pub mod plan;
pub mod tree;
pub mod undo_list;
