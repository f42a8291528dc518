//! Calls on domains.

use std::path::{Path, PathBuf};
use std::time::Duration;

use virt::sys;

use crate::error::Result;
use crate::hypervisor::{
    DiskChanges, DiskFile, Document, Domain, DomainDetails, DomainSpec, Domains, Facts, Image, Saved, Start,
};
use crate::libvirt::domain::{block_job, domains, power};
use crate::libvirt::fault;
use crate::libvirt::guest::attendant;
use crate::libvirt::host::{left_behind, named};
use crate::libvirt::port::libvirt::Libvirt;
use crate::libvirt::xml::domain_xml;
use crate::stop::Stop;

const POLL: Duration = Duration::from_millis(50);

impl Domains for Libvirt {
    fn domains(&self) -> Result<Vec<Domain>> {
        domains::list(&self.connect())
    }

    fn domain(&self, name: &str) -> Result<Option<DomainDetails>> {
        self.find(name)?.map_or(Ok(None), |domain| domains::details(&domain, name))
    }

    fn live_document(&self, name: &str) -> Result<Document> {
        domains::live_document(&self.must_find(name)?, name)
    }

    fn disk_images(&self, name: &str) -> Result<Vec<Image>> {
        domains::disk_images(&self.must_find(name)?, name)
    }

    fn define(&self, spec: &DomainSpec) -> Result<()> {
        let xml = domain_xml::build(spec, self.domain_type()?)?.to_string();
        domains::define(&self.connect(), &spec.name, &xml)
    }

    fn redefine(&self, domain: &str, document: &Document, now: &Document, disks: &DiskChanges) -> Result<()> {
        let xml = domain_xml::build_redefinition(document, &domain_xml::parse(now)?, disks)?.to_string();
        domains::define(&self.connect(), domain, &xml)
    }

    fn undefine(&self, name: &str) -> Result<()> {
        let Some(domain) = self.find(name)? else { return Ok(()) };
        power::destroy(&domain, name)?;
        let minimal = sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA | sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE;
        let thorough = sys::VIR_DOMAIN_UNDEFINE_NVRAM | sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA;
        let flags = if self.is_simulated() { minimal } else { minimal | thorough };
        match domain.undefine_flags(flags) {
            Ok(()) => Ok(()),
            // It was transient and went with the destruction.
            Err(error) if fault::is_missing_domain(&error) => Ok(()),
            Err(error) => Err(fault::failed(format!("cannot undefine the domain `{name}`"), &error)),
        }
    }

    fn start(&self, name: &str, start: Start) -> Result<()> {
        power::start(&self.must_find(name)?, name, start)
    }

    fn attach(&self, name: &str, document: &Document, disk: &DiskFile) -> Result<()> {
        power::attach(&self.must_find(name)?, name, document, disk)
    }

    fn shutdown(&self, name: &str) -> Result<()> {
        power::shutdown(&self.must_find(name)?, name)
    }

    fn suspend(&self, name: &str) -> Result<()> {
        power::suspend(&self.must_find(name)?, name)
    }

    fn resume(&self, name: &str) -> Result<()> {
        power::resume(&self.must_find(name)?, name)
    }

    fn save(&self, name: &str, file: &Path) -> Result<Saved> {
        power::save(&self.must_find(name)?, name, file)
    }

    fn restore(&self, file: &Path, disks: &DiskChanges, paused: bool) -> Result<()> {
        power::restore(&self.connect(), file, disks, paused)
    }

    fn pull(&self, name: &str, target: &str, stop: &Stop) -> Result<()> {
        block_job::pull(&self.must_find(name)?, name, target, stop)
    }

    fn destroy(&self, name: &str) -> Result<()> {
        // The log of a domain that ended by itself may tell why, so it stays.
        if let Some(domain) = self.find(name)? {
            let place = self.place_of(&domain)?;
            power::destroy(&domain, name)?;
            self.remove_log(name);
            if let Some(place) = place {
                attendant::wait_for_end(&place);
            }
        }
        left_behind::remove_shared_memory(name);
        Ok(())
    }

    fn wait_until_gone(&self, domain: &str, stop: &Stop) -> Result<()> {
        loop {
            match self.find(domain)?.map(|found| found.is_active()) {
                None | Some(Ok(false)) => break,
                Some(Err(error)) if fault::is_missing_domain(&error) => break,
                Some(Err(error)) => return Err(fault::failed(format!("cannot look at the domain `{domain}`"), &error)),
                Some(Ok(true)) => {}
            }
            stop.check(|| format!("the shutdown of `{domain}`"))?;
            stop.sleep(POLL);
        }
        self.remove_log(domain);
        left_behind::remove_shared_memory(domain);
        Ok(())
    }

    fn files_named_in(&self, document: &Document) -> Result<Vec<PathBuf>> {
        let element = domain_xml::parse(document)?;
        let volumes = named::volumes(&element);
        let volumes = volumes.iter().filter_map(|(pool, volume)| named::file_of(&self.connect(), pool, volume));
        Ok(named::files(&element).into_iter().chain(volumes).collect())
    }
}
