//! Machines as last seen, and the engine that looks at them.

pub mod clone_mark;
pub mod engine;
#[cfg(test)]
pub mod example;
pub mod seen;
pub mod select;
pub mod settings;
