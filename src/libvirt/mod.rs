//! The adapter to libvirt, and the one place that knows it.
//!
//! XML is built and read in pure functions ([`domain_xml`], [`snapshot_xml`], [`metadata_xml`]); [`hypervisor`] calls
//! libvirt with it.

mod connection;
mod domain_xml;
mod embed;
mod fault;
mod hypervisor;
mod kvm;
mod metadata_xml;
mod qemu_img;
mod raw;
mod snapshot_xml;
mod transport;
mod xml;

pub use connection::connect;
