//! What is on this host: KVM, processes, files that guests leave, and other connections.

pub mod kvm;
pub mod left_behind;
pub mod named;
pub mod neighbours;
pub mod orphans;
pub mod process;
pub mod reaping;
