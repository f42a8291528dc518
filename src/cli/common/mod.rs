//! Code that commands share.

pub mod confirm;
pub mod inside;
pub mod session;
pub mod which;
