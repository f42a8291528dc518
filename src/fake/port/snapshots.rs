//! Calls on snapshots.

use crate::error::Result;
use crate::fake::change::snapshots;
use crate::fake::port::fake::Fake;
use crate::hypervisor::{Document, RevertFlags, Snapshot, SnapshotRequest, SnapshotSpec, Snapshots};

impl Snapshots for Fake {
    fn snapshots(&self, domain: &str) -> Result<Vec<Snapshot>> {
        self.store.look(|state| state.list_snapshots(domain))
    }

    fn read_snapshot(&self, document: &Document) -> Result<Snapshot> {
        snapshots::read(document)
    }

    fn with_comment(&self, document: &Document, comment: &str) -> Result<Document> {
        snapshots::with_comment(document, comment)
    }

    fn create_snapshot(&self, domain: &str, request: &SnapshotRequest) -> Result<()> {
        self.store.change(|state| state.create_snapshot(domain, request))
    }

    fn revert_internal(&self, domain: &str, snapshot: &str, flags: RevertFlags) -> Result<()> {
        self.store.change(|state| state.revert_internal(domain, snapshot, flags))
    }

    fn delete_internal(&self, domain: &str, snapshot: &str) -> Result<()> {
        self.store.change(|state| state.delete_internal(domain, snapshot))
    }

    fn redefine_snapshot(&self, domain: &str, document: &Document, parent: Option<&str>, current: bool) -> Result<()> {
        self.store.change(|state| state.redefine_snapshot(domain, document, parent, current))
    }

    fn define_snapshot(&self, domain: &str, spec: &SnapshotSpec) -> Result<()> {
        self.store.change(|state| state.define_snapshot(domain, spec))
    }

    fn delete_snapshot_metadata(&self, domain: &str, snapshot: &str) -> Result<()> {
        self.store.change(|state| state.delete_snapshot(domain, snapshot))
    }
}
