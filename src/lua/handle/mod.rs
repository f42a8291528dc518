pub mod domain;
pub mod guest;
pub mod image;
pub mod snapshot;
