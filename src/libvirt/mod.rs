//! The adapter to libvirt, and the one place that knows it.
//!
//! XML is built and read in pure functions ([`xml`], [`clone`]); [`domain`], [`memory`] and [`snapshot`] call libvirt
//! with it, for the one [`port`].

mod clone;
mod connection;
mod domain;
mod embed;
mod fault;
mod guest;
mod host;
mod image;
mod memory;
mod port;
mod raw;
mod snapshot;
mod xml;

pub use connection::connect;
pub use raw::close_inherited;
