//! The port to the hypervisor: traits and plain data, named in libvirt's terms.
//!
//! Two adapters implement it: `libvirt` and `fake`. [`Hypervisor`] is one trait for each subject, and operating the
//! system inside a domain ([`Guest`]) is a trait of its own.

mod clones;
mod console;
mod domain;
mod domains;
mod exit;
mod facts;
mod guest;
mod guests;
mod images;
mod live;
mod neighbour;
mod reaping;
mod snapshot;
mod snapshots;

pub use clones::Clones;
pub use console::Console;
pub use domain::{
    Accelerator, Boot, CloneSpec, Disk, DiskChanges, DiskFile, Document, Domain, DomainDetails, DomainSpec,
    DomainState, Firmware, Image, Metadata, Network, Saved, Source, Start, Version,
};
pub use domains::Domains;
pub use exit::Exit;
pub use facts::Facts;
pub use guest::{
    Command, CommandLine, Condition, Connections, FileMode, Forward, Guest, GuestEntry, Input, NO_READER, OpenForward,
    PathKind, Ports, Signals, Stream, UnitState, UnpackOptions, UnpackTarget,
};
pub use guests::Guests;
pub use images::Images;
pub use live::{CatchUp, Fingerprint, Frozen, Liveness, Ram};
pub use neighbour::{Neighbour, Neighbours};
pub use reaping::{Promptness, Reaping};
pub use snapshot::{
    DiskState, MappedMemory, Memory, RevertFlags, Snapshot, SnapshotDisk, SnapshotFlags, SnapshotKind, SnapshotRequest,
    SnapshotSpec,
};
pub use snapshots::Snapshots;

/// A connection to a hypervisor. Every call blocks; several threads may call at once.
pub trait Hypervisor: Facts + Domains + Snapshots + Clones + Guests + Images {}

impl<T: Facts + Domains + Snapshots + Clones + Guests + Images> Hypervisor for T {}
