//! The adapter to libvirt, and the one place that knows it.
//!
//! XML is built and read in pure functions ([`domain_xml`], [`domain_facts`], [`clone_xml`], [`snapshot_xml`],
//! [`metadata_xml`]);
//! [`domains`], [`power`], [`snapshots`], [`live`] and [`block_job`] call libvirt with it, for the one [`hypervisor`].

mod block_job;
mod clone_arguments;
mod clone_devices;
mod clone_rule;
mod clone_xml;
mod connection;
mod depends;
mod domain_facts;
mod domain_xml;
mod domains;
mod embed;
mod fault;
mod hypervisor;
mod internal;
mod kvm;
mod left_behind;
mod line;
mod live;
mod live_trial;
mod live_xml;
mod metadata_xml;
mod monitor;
mod named;
mod neighbours;
mod orphans;
mod overlay;
mod power;
mod process;
mod qcow2;
mod qemu_img;
mod raw;
mod reaping;
mod save_image;
mod snapshot_xml;
mod snapshots;
mod sparse;
mod stated_chain;
mod stream_console;
mod transport;
mod xml;

pub use connection::connect;
