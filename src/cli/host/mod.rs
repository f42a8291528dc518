//! Commands about this host and the installation.

pub mod doctor;
pub mod images;
pub mod stubs;
