//! The claims about guests, on real QEMU through real libvirt.
//!
//! These tests are ignored unless asked for, since they need a hypervisor: `make test` asks.

mod build;
mod busy;
mod failed;
mod foreign;
mod guest;
mod host;
mod kills;
mod lab;
mod live;
mod primitives;
mod repl;
mod shell;
mod walk;
