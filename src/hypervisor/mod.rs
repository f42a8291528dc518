//! The port to whatever runs domains: traits and plain data, named in libvirt's terms.
//!
//! Two adapters stand behind it: [`crate::libvirt`] and [`crate::fake`]. Creating a domain ([`Hypervisor`]) and
//! operating the system inside one ([`Guest`]) are separate traits.

mod domain;
mod guest;
mod snapshot;

use std::path::{Path, PathBuf};

pub use domain::{Accelerator, Boot, Clone, Domain, DomainDocument, DomainSpec, Firmware, Metadata, Network};
pub use guest::{Command, CommandLine, Exit, FileMode, Guest, Stream, UnitState};
pub use snapshot::{DiskState, Snapshot, SnapshotSpec};

use crate::error::Result;
use crate::stop::Stop;

/// A connection to a hypervisor. Every call blocks; several threads may call at once.
pub trait Hypervisor: Send + Sync {
    /// Returns the connection URI, as `virsh uri` prints it.
    fn uri(&self) -> String;

    /// Says whether guest code runs under KVM here, and if not, why.
    fn accelerator(&self) -> Result<Accelerator>;

    /// Says that no guest ever boots here, so images need not exist.
    fn is_simulated(&self) -> bool;

    /// Lists every domain, running or not, without documents (`virConnectListAllDomains`).
    fn domains(&self) -> Result<Vec<Domain>>;

    /// Looks one domain up by name (`virDomainLookupByName`).
    fn domain(&self, name: &str) -> Result<Option<Domain>>;

    /// Defines a persistent domain, or defines it anew under its uuid (`virDomainDefineXMLFlags`).
    fn define(&self, spec: &DomainSpec) -> Result<()>;

    /// Stops a domain if it runs and removes it with the metadata of its snapshots (`virDomainUndefineFlags`).
    fn undefine(&self, name: &str) -> Result<()>;

    /// Lists the snapshots of a domain with their documents (`virDomainListAllSnapshots`).
    fn snapshots(&self, domain: &str) -> Result<Vec<Snapshot>>;

    /// Puts a snapshot into a domain's tree by metadata alone, replacing one of the same name
    /// (`virDomainSnapshotCreateXML` with `VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE`).
    fn redefine_snapshot(&self, domain: &str, spec: &SnapshotSpec) -> Result<()>;

    /// Removes a snapshot from the tree and nothing else; its children move to its parent
    /// (`virDomainSnapshotDelete` with `VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY`).
    fn delete_snapshot_metadata(&self, domain: &str, snapshot: &str) -> Result<()>;

    /// Starts a transient domain made from another one's document (`virDomainCreateXML`).
    fn start_clone(&self, clone: &Clone) -> Result<()>;

    /// Stops a domain at once, like pulling the plug (`virDomainDestroy`). A domain that is gone is no error.
    fn destroy(&self, name: &str) -> Result<()>;

    /// Opens the system inside a running domain; does not wait for it to answer.
    fn guest(&self, domain: &str) -> Result<Box<dyn Guest>>;

    /// Waits until a transient domain has gone, after its guest was told to shut down.
    fn wait_until_gone(&self, domain: &str, stop: &Stop) -> Result<()>;

    /// Lists the files that `image` stands on, without itself (`qemu-img info --backing-chain`).
    fn backing_chain(&self, image: &Path) -> Result<Vec<PathBuf>>;

    /// Creates an empty qcow2 `overlay` on the image `backing` (`qemu-img create -b`).
    fn create_overlay(&self, overlay: &Path, backing: &Path) -> Result<()>;

    /// Copies an image, qcow2 or raw, into a qcow2 file of its own (`qemu-img convert`), which the guest sees with
    /// `size` bytes where that is given (`qemu-img resize`).
    fn copy_image(&self, from: &Path, to: &Path, size: Option<u64>) -> Result<()>;
}
