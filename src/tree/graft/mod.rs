//! Changes to a machine's tree and to its layers.

pub mod layers;
pub mod prune;
pub mod redefine;
pub mod sweep;
