//! Transient clones: what they are made from, how they run, and the check-points taken of them.

pub mod builder;
pub mod checkpointer;
pub mod origin;
pub mod ram;
pub mod running;
