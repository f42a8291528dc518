//! What a script sees: its globals, the fields and methods of its values, and its modules.

pub mod connection;
pub mod domain;
pub mod fork;
pub mod globals;
pub mod guest;
pub mod host;
pub mod image;
pub mod machine;
pub mod parallel;
pub mod param;
pub mod require;
pub mod snapshot;
pub mod snaptree;
