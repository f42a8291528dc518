//! Unpacks disks from compression and archives, within limits.

pub mod archive;
pub mod budget;
pub mod convert;
pub mod subject;
pub mod unpack;
