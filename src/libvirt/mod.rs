//! The adapter to libvirt, and the one place that knows it.
//!
//! XML is built and read in pure functions ([`domain_xml`], [`domain_facts`], [`snapshot_xml`], [`metadata_xml`]);
//! [`domains`], [`power`], [`snapshots`] and [`block_job`] call libvirt with it, for the one [`hypervisor`].

mod block_job;
mod connection;
mod domain_facts;
mod domain_xml;
mod domains;
mod embed;
mod fault;
mod hypervisor;
mod kvm;
mod metadata_xml;
mod power;
mod qcow2;
mod qemu_img;
mod raw;
mod snapshot_xml;
mod snapshots;
mod stream_console;
mod transport;
mod xml;

pub use connection::connect;
