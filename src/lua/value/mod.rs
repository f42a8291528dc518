//! Lua's values and source texts, independent of any running script.

pub mod error;
pub mod failure;
pub mod options;
pub mod show;
pub mod source;
pub mod tokens;
