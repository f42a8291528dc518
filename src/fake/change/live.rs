//! Clones, and guests that are frozen and resumed elsewhere.

use std::path::Path;

use crate::error::{Because, Error, Result};
use crate::fake::change::memory::check_migratable;
use crate::fake::change::power::started;
use crate::fake::record::document::Document;
use crate::fake::record::forwarded::forwarded;
use crate::fake::record::snapshot_document::domain_in;
use crate::fake::record::state::{Ram, State};
use crate::hypervisor::Ram as KeptRam;
use crate::hypervisor::{CloneSpec, DomainState, Fingerprint, Forward, Frozen, Liveness, Network};

pub const EMULATOR: &str = "fake 1.0";

/// Says what the state of a guest in this domain fits.
pub fn fingerprint(document: &Document) -> Fingerprint {
    let facts = [
        ("QEMU", EMULATOR.to_string()),
        ("memory", document.memory.to_string()),
        ("processors", document.cpus.to_string()),
    ];
    facts.map(|(name, value)| (name.to_string(), value)).into()
}

pub fn liveness(document: &Document) -> Liveness {
    match check_migratable(document) {
        Ok(()) => Liveness::Mapped,
        Err(cause) => Liveness::No(cause),
    }
}

impl Frozen {
    fn file(&self) -> &Path {
        match self {
            Self::Devices(file) | Self::Whole(file) | Self::Saved(file) => file,
        }
    }
}

impl State {
    pub fn start_clone(&mut self, clone: &CloneSpec) -> Result<()> {
        let failed = || Error::failed(format!("cannot start domain `{}`", clone.name));
        let mut document = domain_in(&clone.document)?;
        document.name = clone.name.clone();
        document.uuid = clone.uuid.clone();
        document.set_metadata(Some(&clone.metadata));
        for (target, file) in &clone.disks {
            match document.disks.get_mut(target) {
                Some(disk) => disk.replace(file, "qcow2"),
                None => return Err(failed().cause(format!("there is no disk `{target}`"))),
            }
        }
        if self.domains.contains_key(&clone.name) {
            return Err(failed().cause("it already exists"));
        }
        if let Some(other) = self.with_uuid(&clone.uuid) {
            return Err(failed().cause(format!("domain `{other}` already has the uuid {}", clone.uuid)));
        }
        self.check_disks(&document).map_err(|cause| failed().cause(cause))?;
        let ram = clone.from.as_ref().map(|frozen| self.ram_in(frozen)).transpose();
        let ram = ram.map_err(|cause| failed().cause(cause))?;
        if let KeptRam::Shared(file) = &clone.ram {
            make_ram(file).because(|| format!("cannot make `{}`", file.display()))?;
        }
        self.insert_domain(document, started(clone.paused), false);
        self.started.push(clone.name.clone());
        if let Some(ram) = ram {
            self.record_mut(&clone.name)?.ram = ram;
            self.resumed.push(clone.name.clone());
        }
        Ok(())
    }

    /// Returns the RAM that a guest resumes with.
    pub fn ram_in(&self, frozen: &Frozen) -> Result<Ram, String> {
        let file = frozen.file();
        let memory = self.memories.get(file).filter(|memory| !memory.has_file || file.exists());
        memory.map(|memory| memory.ram.clone()).ok_or_else(|| format!("there is no state in `{}`", file.display()))
    }

    pub fn wake(&mut self, name: &str, frozen: &Frozen, paused: bool) -> Result<()> {
        let failed = |cause: String| Error::failed(format!("cannot start domain `{name}`")).cause(cause);
        if self.record(name)?.is_active() {
            return Err(failed("domain is already running".to_string()));
        }
        self.check_disks(&self.record(name)?.document).map_err(failed)?;
        let ram = self.ram_in(frozen).map_err(failed)?;
        self.record_mut(name)?.set_state(started(paused), ram);
        self.resumed.push(name.to_string());
        Ok(())
    }

    pub fn freeze(&mut self, name: &str, frozen: &Frozen) -> Result<()> {
        let failed = || format!("the guest of `{name}` cannot be frozen");
        let record = self.active(name, failed)?;
        if record.state == DomainState::Running {
            return Err(Error::failed(failed()).cause("its processors do not stand still"));
        }
        check_migratable(record.now()).map_err(|cause| Error::failed(failed()).cause(cause))?;
        let (document, ram) = (record.now().clone(), record.ram.clone());
        self.write_memory(frozen.file(), document, ram).because(failed)?;
        if matches!(frozen, Frozen::Saved(_)) {
            self.stop(name);
        }
        Ok(())
    }

    /// Says which port of the host leads into the guest by user networking, if the domain has that.
    pub fn forward(&self, name: &str, forward: Forward) -> Result<Option<u16>> {
        let has_user_network = self.running(name)?.now().network == Network::User;
        Ok(has_user_network.then(|| forwarded(forward)))
    }
}

/// Makes the file for a guest's RAM, if its directory exists.
pub fn make_ram(file: &Path) -> std::io::Result<()> {
    if file.exists() || !file.parent().is_some_and(Path::is_dir) {
        return Ok(());
    }
    std::fs::write(file, "the RAM of a fake domain\n")
}
