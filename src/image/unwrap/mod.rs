//! Taking off what a disk is wrapped in, within limits.

pub mod archive;
pub mod budget;
pub mod convert;
pub mod subject;
pub mod unpack;
