//! Code that commands share.

pub mod background;
pub mod confirm;
pub mod detach;
pub mod inside;
pub mod session;
pub mod signal_relay;
pub mod which;
