//! What libvirt does to domains, done to the state.

use crate::error::{Error, Result};
use crate::fake::record::document::Document;
use crate::fake::record::snapshot_document::domain_in;
use crate::fake::record::state::{DomainRecord, Ram, State};
use crate::hypervisor::Document as HypervisorDocument;
use crate::hypervisor::{Disk, DiskChanges, Domain, DomainDetails, DomainSpec, DomainState, Image};

impl State {
    pub fn list_domains(&self) -> Vec<Domain> {
        self.domains.values().map(describe).collect()
    }

    pub fn find_domain(&self, name: &str) -> Result<Option<DomainDetails>> {
        let Some(record) = self.domains.get(name) else { return Ok(None) };
        let (document, now) = (&record.document, record.now());
        Ok(Some(DomainDetails {
            domain: describe(record),
            document: document.print()?,
            memory: now.memory,
            cpus: now.cpus,
            disks: now.describe_disks(),
            next_disks: document.describe_disks(),
            filesystems: document.filesystems.clone(),
            has_host_devices: document.host_devices,
            nvram: document.nvram.clone(),
            has_managed_save: record.managed_save,
            metadata: document.metadata(),
        }))
    }

    /// Lists the images that a domain has now and will have, each once.
    pub fn disk_images(&self, name: &str) -> Result<Vec<Image>> {
        let record = self.record(name)?;
        let disks = [record.now(), &record.document].into_iter().flat_map(Document::describe_disks);
        let mut images = Vec::new();
        for image in disks.filter_map(|disk: Disk| disk.image()) {
            if !images.contains(&image) {
                images.push(image);
            }
        }
        Ok(images)
    }

    pub fn define(&mut self, spec: &DomainSpec) -> Result<()> {
        let failed = || Error::failed(format!("cannot define domain `{}`", spec.name));
        let document = Document::new(spec);
        if let Some(record) = self.domains.get_mut(&spec.name) {
            let uuid = &record.document.uuid;
            if *uuid != spec.uuid {
                return Err(failed().cause(format!("it already exists with uuid {uuid}")));
            }
            record.set_document(document);
            record.persistent = true;
            return Ok(());
        }
        if let Some(other) = self.with_uuid(&spec.uuid) {
            return Err(failed().cause(format!("domain `{other}` already has the uuid {}", spec.uuid)));
        }
        self.insert_domain(document, DomainState::Shutoff, true);
        Ok(())
    }

    pub fn redefine(
        &mut self,
        name: &str,
        document: &HypervisorDocument,
        now: &HypervisorDocument,
        disks: &DiskChanges,
    ) -> Result<()> {
        let failed = |cause: String| Error::failed(format!("cannot redefine domain `{name}`")).cause(cause);
        let record = self.record_mut(name)?;
        if !record.persistent {
            return Err(failed("domain is transient".to_string()));
        }
        let mut document = domain_in(document)?;
        let now = domain_in(now)?;
        document.name = now.name.clone();
        document.uuid = now.uuid.clone();
        document.set_metadata(now.metadata().as_ref());
        document.change_disks(disks, Some(&now));
        record.set_document(document);
        Ok(())
    }

    pub fn undefine(&mut self, name: &str) -> Result<()> {
        self.record(name)?;
        self.domains.remove(name);
        Ok(())
    }

    /// Says why a domain's disks cannot be used now.
    pub fn check_disks(&self, document: &Document) -> Result<(), String> {
        for disk in document.disks.values() {
            let Some(place) = disk.place() else { continue };
            // QEMU's own locks would refuse this: two guests would write to one file.
            if let Some(other) = self.user_of(place, Some(&document.name)).filter(|_| disk.is_written()) {
                return Err(format!("`{}` is in use by domain `{other}`", place.display()));
            }
            if let Some(lost) = self.lost_layer(place) {
                return Err(format!("its layer `{}` is gone", lost.display()));
            }
        }
        Ok(())
    }

    /// Stops a domain; a transient one is gone then.
    pub fn stop(&mut self, name: &str) {
        match self.domains.get_mut(name) {
            Some(record) if !record.is_active() => {}
            Some(record) if record.persistent => record.set_state(DomainState::Shutoff, Ram::default()),
            Some(_) => drop(self.domains.remove(name)),
            None => {}
        }
    }

    pub fn is_active(&self, name: &str) -> bool {
        self.domains.get(name).is_some_and(DomainRecord::is_active)
    }

    /// Returns a domain whose guest answers.
    pub fn running(&self, name: &str) -> Result<&DomainRecord> {
        let record = self.record(name)?;
        match record.state {
            DomainState::Running => Ok(record),
            state if state.is_active() => Err(Error::failed(format!("domain `{name}` is {}", state.as_str()))),
            _ => Err(Error::failed(format!("domain `{name}` is not running"))),
        }
    }

    pub fn insert_domain(&mut self, document: Document, state: DomainState, persistent: bool) {
        let name = document.name.clone();
        let record = DomainRecord {
            state,
            persistent,
            document,
            live: None,
            ram: Ram::default(),
            managed_save: false,
            current: None,
            snapshots: Default::default(),
        };
        self.domains.insert(name, record);
    }

    pub fn with_uuid(&self, uuid: &str) -> Option<&str> {
        self.domains.values().find(|record| record.document.uuid == uuid).map(|record| record.document.name.as_str())
    }
}

fn describe(record: &DomainRecord) -> Domain {
    Domain {
        name: record.document.name.clone(),
        uuid: record.document.uuid.clone(),
        state: record.state,
        is_persistent: record.persistent,
    }
}
