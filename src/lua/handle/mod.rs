//! The values that a script holds: machines, snapshots, forks, guests and images.

pub mod domain;
pub mod fork;
pub mod guest;
pub mod image;
pub mod machine;
pub mod snapshot;
