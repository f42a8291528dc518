//! A guest's RAM, kept in files.

use std::path::Path;

use crate::error::{Because, Error, Result};
use crate::fake::change::power::started;
use crate::fake::record::document::Document;
use crate::fake::record::state::{MemoryFile, Ram, State};
use crate::hypervisor::{DiskChanges, DomainState};

impl State {
    /// Writes a domain's RAM into a file and stops it.
    pub fn save(&mut self, name: &str, file: &Path) -> Result<()> {
        let failed = || format!("cannot save domain `{name}` to `{}`", file.display());
        let record = self.active(name, failed)?;
        check_migratable(record.now()).map_err(|cause| Error::failed(failed()).cause(cause))?;
        let (document, ram) = (record.now().clone(), record.ram.clone());
        self.write_memory(file, document, ram).because(failed)?;
        self.stop(name);
        Ok(())
    }

    /// Keeps a guest's RAM under the path of a file, with a small real file if its directory exists.
    pub fn write_memory(&mut self, file: &Path, document: Document, ram: Ram) -> std::io::Result<()> {
        let has_file = file.parent().is_some_and(Path::is_dir);
        if has_file {
            std::fs::write(file, format!("the RAM of fake domain {}\n", document.name))?;
        }
        self.memories.insert(file.to_path_buf(), MemoryFile { has_file, document, ram });
        Ok(())
    }

    /// Starts the domain whose RAM is in a file: a persistent one for this run only, any other one as a new domain.
    pub fn restore(&mut self, file: &Path, disks: &DiskChanges, paused: bool) -> Result<()> {
        let failed =
            |cause: String| Error::failed(format!("cannot restore a domain from `{}`", file.display())).cause(cause);
        let memory = self.memories.get(file).filter(|memory| !memory.has_file || file.exists());
        let memory = memory
            .ok_or_else(|| failed(format!("Failed to open file '{}': No such file or directory", file.display())))?;
        let MemoryFile { mut document, ram, .. } = memory.clone();
        let name = document.name.clone();
        document.change_disks(disks, self.domains.get(&name).map(|record| &record.document));
        if let Some(record) = self.domains.get(&name) {
            if record.document.uuid != document.uuid {
                let uuid = &record.document.uuid;
                return Err(failed(format!("domain '{name}' already exists with uuid {uuid}")));
            }
            if record.is_active() {
                return Err(failed(format!("domain is already active as '{name}'")));
            }
        }
        self.check_disks(&document).map_err(failed)?;
        match self.domains.get_mut(&name) {
            Some(record) => {
                record.set_state(started(paused), ram);
                record.live = (document != record.document).then_some(document);
            }
            None => {
                self.insert_domain(document, DomainState::Running, false);
                self.record_mut(&name)?.set_state(started(paused), ram);
            }
        }
        Ok(())
    }
}

/// Says in libvirt's words why a guest's RAM cannot be saved.
pub fn check_migratable(document: &Document) -> Result<(), String> {
    if document.host_devices {
        return Err("domain has assigned non-USB host devices".to_string());
    }
    match document.filesystems.first().map(String::as_str) {
        Some("virtiofs") => Err("migration with virtiofs device is not supported".to_string()),
        Some(_) => Err("Migration is disabled when VirtFS export path is mounted in the guest".to_string()),
        None => Ok(()),
    }
}
