//! Code that commands share.

pub mod background;
pub mod confirm;
pub mod detach;
pub mod inside;
pub mod relay;
pub mod session;
pub mod which;
