//! Calls on snapshots.

use virt::sys;

use crate::error::Result;
use crate::hypervisor::{Document, Facts, RevertFlags, Snapshot, SnapshotRequest, SnapshotSpec, Snapshots, Version};
use crate::libvirt::port::libvirt::Libvirt;
use crate::libvirt::snapshot::{snapshots, take};
use crate::libvirt::xml::snapshot_xml;

impl Snapshots for Libvirt {
    fn snapshots(&self, domain: &str) -> Result<Vec<Snapshot>> {
        snapshots::list(&self.must_find(domain)?, domain)
    }

    fn snapshot_names(&self, domain: &str) -> Result<Vec<String>> {
        snapshots::names(&self.must_find(domain)?, domain)
    }

    fn read_snapshot(&self, document: &Document) -> Result<Snapshot> {
        snapshot_xml::read(document)
    }

    fn with_comment(&self, document: &Document, comment: &str) -> Result<Document> {
        snapshot_xml::comment(document, comment).map(|snapshot| Document(snapshot.to_string()))
    }

    fn create_snapshot(&self, domain: &str, request: &SnapshotRequest) -> Result<()> {
        const KNOWS_VALIDATE: Version = Version::new(5, 6, 0);
        let validate = !self.is_simulated() && self.version()? >= KNOWS_VALIDATE;
        let found = self.must_find(domain)?;
        let _hold = if self.is_simulated() { None } else { Some(self.without_transfer(&found)?) };
        take::create(&self.connect(), &found, domain, request, validate)
    }

    fn revert_internal(&self, domain: &str, snapshot: &str, flags: RevertFlags) -> Result<()> {
        snapshots::revert(&self.must_find(domain)?, domain, snapshot, flags)
    }

    fn delete_internal(&self, domain: &str, snapshot: &str) -> Result<()> {
        snapshots::delete_internal(&self.must_find(domain)?, domain, snapshot)
    }

    fn redefine_snapshot(&self, domain: &str, document: &Document, parent: Option<&str>, current: bool) -> Result<()> {
        snapshots::redefine(&self.must_find(domain)?, domain, document, parent, current)
    }

    fn define_snapshot(&self, domain: &str, spec: &SnapshotSpec) -> Result<()> {
        snapshots::define(&self.must_find(domain)?, domain, spec)
    }

    fn delete_snapshot_metadata(&self, domain: &str, snapshot: &str) -> Result<()> {
        // The test driver has nothing but metadata, and does not know the flag.
        let flags = if self.is_simulated() { 0 } else { sys::VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY };
        snapshots::delete(&self.must_find(domain)?, domain, snapshot, flags)
    }
}
