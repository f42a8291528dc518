//! Machines as they were when they were last looked at, and the engine that looks.

pub mod engine;
#[cfg(test)]
pub mod example;
pub mod select;
