//! The system in a running domain, and its console.

pub mod console;
pub mod guest;
