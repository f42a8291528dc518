//! Code that commands share.

pub mod confirm;
pub mod session;
pub mod which;
