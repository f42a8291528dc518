//! Unpacks disks from compression and archives, within limits.

pub mod budget;
pub mod convert;
pub mod subject;
pub mod tar;
pub mod unpack;
