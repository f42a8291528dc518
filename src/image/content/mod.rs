//! The content of a file: a disk and its format, something packed, or neither.

pub mod alone;
pub mod bytes;
pub mod format;
pub mod kind;
pub mod stamp;
pub mod whole;
