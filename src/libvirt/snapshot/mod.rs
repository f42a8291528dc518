//! Calls on snapshots.

pub mod internal;
pub mod snapshots;
pub mod take;
