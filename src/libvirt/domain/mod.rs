//! Calls on domains.

pub mod block_job;
pub mod domains;
pub mod power;
pub mod stated_chain;
