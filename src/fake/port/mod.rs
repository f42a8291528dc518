//! The port's calls on the state.

mod clones;
mod domains;
pub mod fake;
mod guests;
mod images;
mod snapshots;
