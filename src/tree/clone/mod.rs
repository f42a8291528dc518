//! Transient clones: their origins, how they run, and the checkpoints taken of them.

pub mod builder;
pub mod checkpointer;
pub mod origin;
pub mod ram;
pub mod ram_plan;
pub mod ram_policy;
pub mod running;
