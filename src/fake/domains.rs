//! What libvirt does to domains, done to the state.

use super::document::Document;
use super::state::{DomainRecord, State};
use crate::error::{Error, Result};
use crate::hypervisor::{Clone, Domain, DomainSpec};

impl State {
    pub fn list_domains(&self) -> Vec<Domain> {
        self.domains
            .values()
            .map(|record| Domain {
                name: record.document.name.clone(),
                uuid: record.document.uuid.clone(),
                is_active: record.active,
                is_persistent: record.persistent,
                document: None,
                disks: Vec::new(),
                metadata: None,
            })
            .collect()
    }

    pub fn find_domain(&self, name: &str) -> Result<Option<Domain>> {
        let Some(record) = self.domains.get(name) else { return Ok(None) };
        Ok(Some(Domain {
            name: record.document.name.clone(),
            uuid: record.document.uuid.clone(),
            is_active: record.active,
            is_persistent: record.persistent,
            document: Some(record.document.print()?),
            disks: record.document.disks.values().cloned().collect(),
            metadata: record.document.metadata(),
        }))
    }

    pub fn define(&mut self, spec: &DomainSpec) -> Result<()> {
        let failed = || Error::failed(format!("cannot define domain `{}`", spec.name));
        let document = Document::new(spec);
        if let Some(record) = self.domains.get_mut(&spec.name) {
            let uuid = &record.document.uuid;
            if *uuid != spec.uuid {
                return Err(failed().cause(format!("it already exists with uuid {uuid}")));
            }
            record.document = document;
            record.persistent = true;
            return Ok(());
        }
        if let Some(other) = self.with_uuid(&spec.uuid) {
            return Err(failed().cause(format!("domain `{other}` already has the uuid {}", spec.uuid)));
        }
        self.insert_domain(document, false, true);
        Ok(())
    }

    pub fn undefine(&mut self, name: &str) -> Result<()> {
        match self.domains.remove(name) {
            Some(_) => Ok(()),
            None => Err(not_found(name)),
        }
    }

    pub fn start_clone(&mut self, clone: &Clone) -> Result<()> {
        let failed = || Error::failed(format!("cannot start domain `{}`", clone.name));
        let mut document = Document::parse(&clone.document)?;
        document.name = clone.name.clone();
        document.uuid = clone.uuid.clone();
        document.set_metadata(&clone.metadata);
        for (target, disk) in &clone.disks {
            match document.disks.get_mut(target) {
                Some(file) => *file = disk.clone(),
                None => return Err(failed().cause(format!("there is no disk `{target}`"))),
            }
        }
        if self.domains.contains_key(&clone.name) {
            return Err(failed().cause("it already exists"));
        }
        if let Some(other) = self.with_uuid(&clone.uuid) {
            return Err(failed().cause(format!("domain `{other}` already has the uuid {}", clone.uuid)));
        }
        for disk in document.disks.values() {
            // QEMU's own locks would refuse this: two guests would write to one file.
            let holds =
                |record: &&DomainRecord| record.active && record.document.disks.values().any(|file| file == disk);
            if let Some(other) = self.domains.values().find(holds) {
                let cause = format!("`{}` is in use by domain `{}`", disk.display(), other.document.name);
                return Err(failed().cause(cause));
            }
            if let Some(lost) = self.lost_layer(disk) {
                return Err(failed().cause(format!("its layer `{}` is gone", lost.display())));
            }
        }
        self.insert_domain(document, true, false);
        self.started.push(clone.name.clone());
        Ok(())
    }

    /// Stops a domain; a transient one is gone then.
    pub fn stop(&mut self, name: &str) {
        match self.domains.get_mut(name) {
            Some(record) if record.persistent => record.active = false,
            Some(_) => drop(self.domains.remove(name)),
            None => {}
        }
    }

    pub fn is_active(&self, name: &str) -> bool {
        self.domains.get(name).is_some_and(|record| record.active)
    }

    /// Returns the document of a domain that runs.
    pub fn running(&self, name: &str) -> Result<&Document> {
        match self.domains.get(name) {
            Some(record) if record.active => Ok(&record.document),
            Some(_) => Err(Error::failed(format!("domain `{name}` is not running"))),
            None => Err(not_found(name)),
        }
    }

    fn insert_domain(&mut self, document: Document, active: bool, persistent: bool) {
        let name = document.name.clone();
        let record = DomainRecord { active, persistent, document, current: None, snapshots: Default::default() };
        self.domains.insert(name, record);
    }

    fn with_uuid(&self, uuid: &str) -> Option<&str> {
        self.domains.values().find(|record| record.document.uuid == uuid).map(|record| record.document.name.as_str())
    }
}

pub(super) fn not_found(name: &str) -> Error {
    Error::failed(format!("domain `{name}` not found"))
}
