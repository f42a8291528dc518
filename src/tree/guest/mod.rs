//! The system of something that runs: a fork, or a machine itself.

pub mod console;
pub mod copy;
pub mod forward;
pub mod running;
