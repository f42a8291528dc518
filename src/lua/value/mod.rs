//! Values and texts of Lua, as they are: nothing here knows of a script that runs.

pub mod error;
pub mod failure;
pub mod options;
pub mod show;
pub mod source;
pub mod tokens;
