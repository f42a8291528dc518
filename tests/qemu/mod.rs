//! The claims about guests, on real QEMU through real libvirt.
//!
//! These tests are ignored unless asked for, since they need a hypervisor: `make test` asks.

mod attendant;
mod build;
mod busy;
mod channel;
mod clones;
mod consoles;
mod copies;
mod cuts;
mod descriptions;
mod directories;
mod disks;
mod failed;
mod files;
mod foreign;
mod forks;
mod forwards;
mod guest;
mod host;
mod images;
mod kills;
mod lab;
mod live;
mod names;
mod primitives;
mod repl;
mod shell;
mod strangers;
mod transfers;
mod walk;
