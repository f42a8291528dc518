//! What libvirt does, done to the state.

pub mod capture;
pub mod domains;
pub mod internal;
pub mod layers;
pub mod live;
pub mod memory;
pub mod power;
pub mod snapshots;
