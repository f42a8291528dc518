//! The system in a running domain, and its console.

mod archive;
pub mod console;
pub mod guest;
