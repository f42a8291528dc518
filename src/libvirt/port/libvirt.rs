//! A connection to libvirt, and what it knows about itself and its host.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};

use virt::connect::Connect;
use virt::domain::Domain as VirtDomain;

use crate::error::{Because, Error, Result};
use crate::hypervisor::{Accelerator, Facts, Liveness, Neighbours, Reaping, Version};
use crate::libvirt::guest::transfer::{Hold, Transfers};
use crate::libvirt::host::{kvm, left_behind, neighbours, reaping};
use crate::libvirt::memory::live::Owner;
use crate::libvirt::xml::domain_xml::DomainType;
use crate::libvirt::xml::element::Element;
use crate::libvirt::{embed, fault};
use crate::paths::Paths;
use crate::shell;

pub(super) const DEFAULT_EMULATOR: &str = "qemu-system-x86_64";

/// A connection to libvirt.
pub struct Libvirt {
    /// Reopened if it was lost.
    connect: Mutex<Connect>,
    /// As it was requested; the guests' own connections use it too.
    pub(super) uri: String,
    pub(super) cache: PathBuf,
    /// The root of the in-process driver.
    embed: PathBuf,
    logs_of_user: PathBuf,
    /// Where the processes are found that attend channels.
    pub(super) attendants: PathBuf,
    accelerator: OnceLock<Accelerator>,
    capabilities: OnceLock<Option<Element>>,
    pub(super) transfers: Transfers,
    /// Domains that get no disk for a copy now, by uuid.
    held: Mutex<HashMap<String, Weak<Hold>>>,
    /// How guests can have their RAM kept, by directory.
    pub(super) liveness: Mutex<Vec<(PathBuf, Liveness)>>,
}

impl Libvirt {
    pub fn new(connect: Connect, uri: &str, paths: &Paths) -> Self {
        Self {
            connect: Mutex::new(connect),
            uri: uri.to_string(),
            cache: paths.cache.clone(),
            embed: paths.embed.clone(),
            logs_of_user: paths.libvirt_logs.clone(),
            attendants: paths.attendants.clone(),
            accelerator: OnceLock::new(),
            capabilities: OnceLock::new(),
            liveness: Mutex::default(),
            transfers: Transfers::new(&paths.store),
            held: Mutex::default(),
        }
    }

    /// Waits until a domain has no disk that is there for a copy, and keeps it so: such a disk must not become part of a
    /// snapshot or a frozen state.
    pub(super) fn without_transfer(&self, domain: &VirtDomain) -> Result<Arc<Hold>> {
        let failed = || "cannot wait for a copy to end".to_string();
        let uuid = domain.uuid_string().map_err(|error| fault::failed(failed(), &error))?;
        if let Some(hold) = self.held.lock().get(&uuid).and_then(Weak::upgrade) {
            return Ok(hold);
        }
        let hold = Arc::new(self.transfers.hold(&uuid).because(failed)?);
        self.held.lock().insert(uuid, Arc::downgrade(&hold));
        Ok(hold)
    }

    pub(super) fn connect(&self) -> Connect {
        self.connect.lock().clone()
    }

    pub(super) fn find(&self, name: &str) -> Result<Option<VirtDomain>> {
        match self.connect().lookup_domain_by_name(name) {
            Ok(domain) => Ok(Some(domain)),
            Err(error) if fault::is_missing_domain(&error) => Ok(None),
            Err(error) => Err(fault::failed(format!("cannot look up the domain `{name}`"), &error)),
        }
    }

    pub(super) fn must_find(&self, name: &str) -> Result<VirtDomain> {
        self.find(name)?.ok_or_else(|| {
            Error::failed(format!("there is no domain `{name}`"))
                .hint(format!("`virsh -c {} list --all` shows the domains", shell::word(&self.uri())))
        })
    }

    pub(super) fn domain_type(&self) -> Result<DomainType> {
        if self.is_simulated() {
            return Ok(DomainType::Test);
        }
        Ok(match self.accelerator()? {
            Accelerator::Kvm => DomainType::Kvm,
            Accelerator::Tcg(_) => DomainType::Qemu,
        })
    }

    /// What libvirt reports about itself and the host.
    fn capabilities(&self) -> Option<&Element> {
        let read = || self.connect().capabilities().ok().and_then(|xml| Element::parse(&xml).ok());
        self.capabilities.get_or_init(read).as_ref()
    }

    /// The user that libvirt runs QEMU as.
    pub(super) fn owner(&self) -> Option<Owner> {
        self.capabilities().and_then(Owner::of)
    }

    /// libvirt's version and QEMU's, as numbers.
    pub(super) fn versions(&self) -> Result<[u64; 2]> {
        let failed = |error| fault::failed("cannot ask libvirt for the version of QEMU", &error);
        let libvirt = self.connect().lib_version().map_err(failed)?;
        let qemu = self.connect().hyp_version().map_err(failed)?;
        Ok([libvirt.into(), qemu.into()])
    }

    /// The emulator that libvirt starts for our guests.
    pub(super) fn default_emulator(&self) -> String {
        let emulator = self.capabilities().and_then(|capabilities| {
            let mut architectures = capabilities.all("guest").filter_map(|guest| guest.find("arch"));
            architectures.find(|arch| arch.get("name") == Some("x86_64"))?.text_of("emulator")
        });
        emulator.unwrap_or(DEFAULT_EMULATOR).to_string()
    }

    /// Removes the output of QEMU and of the programs beside it for a transient domain: libvirt starts logs for each
    /// name and removes none.
    pub(super) fn remove_log(&self, name: &str) {
        let directories = match embed::root_of(&self.uri) {
            Some(root) => left_behind::logs_in(&root.join("log")),
            None if self.uri().ends_with("/system") => left_behind::logs_of_system(),
            None => vec![self.logs_of_user.clone()],
        };
        directories.iter().for_each(|directory| left_behind::remove_logs(directory, name));
    }
}

impl Facts for Libvirt {
    fn uri(&self) -> String {
        self.connect().uri().unwrap_or_else(|_| self.uri.clone())
    }

    fn revive(&self) -> Result<()> {
        if self.connect().is_alive().unwrap_or(false) {
            return Ok(());
        }
        let lost = || Error::unavailable(format!("the connection to `{}` was lost", self.uri));
        let again = Connect::open(Some(&self.uri)).map_err(|error| {
            lost().cause(error.message()).hint("start the libvirt daemon again; the next line reconnects")
        })?;
        *self.connect.lock() = again;
        Ok(())
    }

    fn version(&self) -> Result<Version> {
        let failed = |error| fault::failed("cannot ask libvirt for its version", &error);
        let version = self.connect().lib_version().map_err(failed)?;
        Ok(Version::new(version / 1_000_000, version / 1000 % 1000, version % 1000))
    }

    fn accelerator(&self) -> Result<Accelerator> {
        if let Some(known) = self.accelerator.get() {
            return Ok(known.clone());
        }
        let accelerator = if self.is_simulated() {
            Accelerator::Tcg("libvirt's test driver runs no guests".to_string())
        } else {
            kvm::accelerator(&self.default_emulator(), &self.cache)?
        };
        Ok(self.accelerator.get_or_init(|| accelerator).clone())
    }

    fn is_simulated(&self) -> bool {
        self.uri.starts_with("test:")
    }

    fn is_shared(&self) -> bool {
        !self.is_simulated() && embed::root_of(&self.uri).is_none()
    }

    fn reaping(&self) -> Option<Reaping> {
        let uri = self.uri();
        match embed::root_of(&uri) {
            Some(_) => Some(reaping::here()),
            None if self.is_simulated() => None,
            None => Some(reaping::of_daemon(uri.ends_with("/system"))),
        }
    }

    fn emulator(&self) -> Result<String> {
        let [_, qemu] = self.versions()?;
        Ok(with_version(&self.default_emulator(), qemu))
    }

    fn neighbours(&self) -> Neighbours {
        // The test driver's files are made up.
        if self.is_simulated() { Neighbours::default() } else { neighbours::look(&self.uri(), &self.embed) }
    }
}

pub(super) fn with_version(emulator: &str, version: u64) -> String {
    format!("{emulator} {}.{}.{}", version / 1_000_000, version / 1000 % 1000, version % 1000)
}

#[cfg(test)]
mod tests;
