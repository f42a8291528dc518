//! Calls on snapshots.

use super::domain::Document;
use super::snapshot::{RevertFlags, Snapshot, SnapshotRequest, SnapshotSpec};
use crate::error::Result;

/// The snapshots in a domain's tree.
pub trait Snapshots: Send + Sync {
    /// Lists the snapshots of a domain with their documents (`virDomainListAllSnapshots`).
    fn snapshots(&self, domain: &str) -> Result<Vec<Snapshot>>;

    /// Lists the names of the snapshots of a domain, without their documents.
    fn snapshot_names(&self, domain: &str) -> Result<Vec<String>> {
        Ok(self.snapshots(domain)?.into_iter().map(|snapshot| snapshot.name).collect())
    }

    /// Reads a handwritten document of a snapshot.
    fn read_snapshot(&self, document: &Document) -> Result<Snapshot>;

    /// Returns a snapshot's document with another comment.
    fn with_comment(&self, document: &Document, comment: &str) -> Result<Document>;

    /// Takes a snapshot (`virDomainSnapshotCreateXML`).
    fn create_snapshot(&self, domain: &str, request: &SnapshotRequest) -> Result<()>;

    /// Reverts to an internal snapshot (`virDomainRevertToSnapshot`).
    fn revert_internal(&self, domain: &str, snapshot: &str, flags: RevertFlags) -> Result<()>;

    /// Deletes an internal snapshot with its content (`virDomainSnapshotDelete`); its children move to its parent.
    fn delete_internal(&self, domain: &str, snapshot: &str) -> Result<()>;

    /// Puts a snapshot that was read before back into a domain's tree, or replaces it there, below `parent` and
    /// otherwise as its document says (`virDomainSnapshotCreateXML` with `VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE`).
    ///
    /// `current` makes it the current one. It then names the files that the domain's disks have as its overlays:
    /// libvirt's own revert removes the overlays of the current snapshot, whatever depends on them.
    fn redefine_snapshot(&self, domain: &str, document: &Document, parent: Option<&str>, current: bool) -> Result<()>;

    /// Puts a snapshot into a domain's tree as metadata only, replacing one of the same name
    /// (`virDomainSnapshotCreateXML` with `VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE`).
    fn define_snapshot(&self, domain: &str, spec: &SnapshotSpec) -> Result<()>;

    /// Removes a snapshot from the tree and nothing else; its children move to its parent
    /// (`virDomainSnapshotDelete` with `VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY`).
    fn delete_snapshot_metadata(&self, domain: &str, snapshot: &str) -> Result<()>;
}
