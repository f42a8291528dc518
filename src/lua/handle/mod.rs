//! What a script holds: machines, snapshots, guests and images.

pub mod domain;
pub mod guest;
pub mod image;
pub mod machine;
pub mod snapshot;
