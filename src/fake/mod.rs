//! A hypervisor in memory whose guests answer from a script, for recipes' own tests and ours.
//!
//! `fake:` keeps its state in the connection; `fake:PATH` keeps it in the JSON file `PATH`, which several processes may
//! use at once. Nothing ever boots: commands are answered from the state's `answers` or from `$SNAPTREE_FAKE_ANSWERS`,
//! and succeed without output if neither has an answer. The state records what ran and what was started, for tests to
//! look at.
//!
//! A guest's files are in the layer of its disk, the ones below `/mnt/TARGET` in that disk's, and the ones below `/run`
//! and `/dev/shm` in its RAM, so that a test can tell a resumed guest from one that booted.

mod change;
mod guests;
mod port;
mod record;

pub use port::fake::{SCHEME, connect};

#[cfg(test)]
mod tests;
