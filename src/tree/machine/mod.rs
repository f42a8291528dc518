//! Machines as last seen, and the engine that looks at them.

pub mod clone_mark;
pub mod engine;
#[cfg(test)]
pub mod example;
pub mod filter;
pub mod forced;
#[expect(clippy::module_inception, reason = "a file is a noun and holds the type of that name")]
pub mod machine;
pub mod time_limits;
