//! Machines as they were when they were last looked at, and the engine that looks.

pub mod clone_mark;
pub mod engine;
#[cfg(test)]
pub mod example;
pub mod seen;
pub mod select;
pub mod settings;
