//! Calls on domains.

use std::path::{Path, PathBuf};

use super::domain::{DiskChanges, DiskFile, Document, Domain, DomainDetails, DomainSpec, Image, Saved, Start};
use crate::error::Result;
use crate::stop::Stop;

/// Domains, from their definition to their end.
pub trait Domains: Send + Sync {
    /// Lists every domain, running or not (`virConnectListAllDomains`).
    fn domains(&self) -> Result<Vec<Domain>>;

    /// Looks one domain up by name (`virDomainLookupByName`).
    fn domain(&self, name: &str) -> Result<Option<DomainDetails>>;

    /// Returns a domain's description as `virsh dumpxml` prints it: of a running domain, with all that belongs to this
    /// run.
    fn live_document(&self, name: &str) -> Result<Document>;

    /// Lists the images of a domain's disks: those that it has now and those that it will start with.
    fn disk_images(&self, name: &str) -> Result<Vec<Image>>;

    /// Defines a persistent domain, or redefines it under its uuid (`virDomainDefineXMLFlags`).
    fn define(&self, spec: &DomainSpec) -> Result<()>;

    /// Redefines a domain from `document`, which may be that of one of its snapshots. It keeps the name, the uuid, the
    /// title, the description and the metadata that it has in `now`, and its disks change as `disks` says
    /// (`virDomainDefineXMLFlags`).
    fn redefine(&self, domain: &str, document: &Document, now: &Document, disks: &DiskChanges) -> Result<()>;

    /// Stops a domain if it runs and removes it with the metadata of its snapshots (`virDomainUndefineFlags`).
    fn undefine(&self, name: &str) -> Result<()>;

    /// Starts a domain that is shut off (`virDomainCreateWithFlags`).
    fn start(&self, name: &str, start: Start) -> Result<()>;

    /// Attaches a disk to a running domain for this run only, with this file and otherwise as the running domain in
    /// `document` had it (`virDomainAttachDeviceFlags`).
    fn attach(&self, name: &str, document: &Document, disk: &DiskFile) -> Result<()>;

    /// Asks the guest to power off cleanly; does not wait for it (`virDomainShutdown`).
    fn shutdown(&self, name: &str) -> Result<()>;

    /// Stops the guest's processors (`virDomainSuspend`).
    fn suspend(&self, name: &str) -> Result<()>;

    /// Resumes them (`virDomainResume`).
    fn resume(&self, name: &str) -> Result<()>;

    /// Writes a running domain's RAM into a file and stops it (`virDomainSaveFlags`). If that fails, the domain keeps
    /// running. QEMU does not save a guest twice that has not run in between; then nothing is done, and the result says
    /// so.
    fn save(&self, name: &str, file: &Path) -> Result<Saved>;

    /// Starts the domain whose RAM a file holds, on these disks (`virDomainRestoreFlags`). The file stays.
    fn restore(&self, file: &Path, disks: &DiskChanges, paused: bool) -> Result<()>;

    /// Copies the backing layers of a running domain's disk into the disk's own file, which then has no backing file
    /// (`virDomainBlockPull`).
    fn pull(&self, name: &str, target: &str, stop: &Stop) -> Result<()>;

    /// Stops a domain at once, like pulling the plug (`virDomainDestroy`). A domain that is gone is no error.
    fn destroy(&self, name: &str) -> Result<()>;

    /// Waits until a transient domain is gone after its guest was asked to shut down.
    fn wait_until_gone(&self, domain: &str, stop: &Stop) -> Result<()>;

    /// Lists the files named anywhere in a document, including those of volumes.
    fn files_named_in(&self, document: &Document) -> Result<Vec<PathBuf>>;
}
