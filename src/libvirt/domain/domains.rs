//! Calls that look at domains, define and undefine them.

use virt::connect::Connect;
use virt::domain::{Domain as VirtDomain, DomainState as VirtState};
use virt::enumutil::Enum;
use virt::error::Error as VirtError;
use virt::sys;

use crate::error::Result;
use crate::hypervisor::{Disk, Document, Domain, DomainDetails, DomainState, Image};
use crate::libvirt::domain::stated_chain;
use crate::libvirt::xml::element::from_libvirt;
use crate::libvirt::xml::{domain_facts, domain_xml, metadata_xml, transfer_xml};
use crate::libvirt::{fault, raw};

const INACTIVE: u32 = sys::VIR_DOMAIN_XML_SECURE | sys::VIR_DOMAIN_XML_INACTIVE;

/// Lists every domain.
pub fn list(connect: &Connect) -> Result<Vec<Domain>> {
    let failed = |error: VirtError| fault::failed("cannot list the domains", &error);
    let mut domains = Vec::new();
    for domain in connect.list_all_domains(0).map_err(failed)? {
        match describe(&domain) {
            Ok(domain) => domains.push(domain),
            // A transient one that ended meanwhile.
            Err(error) if fault::is_missing_domain(&error) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(domains)
}

fn describe(domain: &VirtDomain) -> Result<Domain, VirtError> {
    Ok(Domain {
        name: domain.name()?,
        uuid: domain.uuid_string()?,
        state: state(domain)?,
        is_persistent: domain.is_persistent()?,
    })
}

fn state(domain: &VirtDomain) -> Result<DomainState, VirtError> {
    Ok(match domain.state()?.0 {
        Enum::Known(VirtState::Blocked) => DomainState::Blocked,
        Enum::Known(VirtState::Paused) => DomainState::Paused,
        Enum::Known(VirtState::Shutdown) => DomainState::Shutdown,
        Enum::Known(VirtState::Shutoff) => DomainState::Shutoff,
        Enum::Known(VirtState::Crashed) => DomainState::Crashed,
        Enum::Known(VirtState::PMSuspended) => DomainState::Pmsuspended,
        // An unknown state counts as running, so that its files are left alone.
        Enum::Known(VirtState::Running | VirtState::NoState) | Enum::Unknown(_) => DomainState::Running,
    })
}

/// Reads everything about a domain; `None` if it is gone meanwhile.
pub fn details(virt: &VirtDomain, name: &str) -> Result<Option<DomainDetails>> {
    let failed = |error| fault::failed(format!("cannot read the domain `{name}`"), &error);
    let ask = || Ok((describe(virt)?, virt.xml_desc(INACTIVE)?, virt.has_managed_save(0)));
    let (domain, xml, managed_save) = match ask() {
        Ok(found) => found,
        Err(error) if fault::is_missing_domain(&error) => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let document = own(&xml);
    let element = domain_xml::parse(&document)?;
    let running = match domain.state.is_active().then(|| virt.xml_desc(sys::VIR_DOMAIN_XML_SECURE)) {
        Some(Ok(xml)) => Some(domain_xml::parse(&own(&xml))?),
        Some(Err(error)) if fault::is_missing_domain(&error) => return Ok(None),
        Some(Err(error)) => return Err(failed(error)),
        None => None,
    };
    let present = running.as_ref().unwrap_or(&element);
    let (mut disks, mut next_disks) = (domain_facts::disks(present), domain_facts::disks(&element));
    let stated = domain_facts::disk_elements(&element);
    let misstated = stated.filter_map(|disk| Some((domain_facts::target(disk)?, stated_chain::difference(disk)?)));
    for (target, why) in misstated {
        for disk in disks.iter_mut().chain(&mut next_disks).filter(|disk| disk.target == target) {
            disk.obstacle.get_or_insert_with(|| why.clone());
        }
    }
    if running.is_some() {
        // An empty drive can have none, and the guest may have ended meanwhile.
        disks.iter_mut().for_each(|disk| disk.has_block_job = raw::has_block_job(virt, &disk.target).unwrap_or(false));
    }
    Ok(Some(DomainDetails {
        domain,
        memory: domain_facts::memory(present),
        cpus: domain_facts::cpus(present),
        disks,
        next_disks,
        filesystems: domain_facts::filesystems(&element),
        has_host_devices: domain_facts::has_host_devices(&element),
        nvram: domain_facts::nvram(&element),
        // A transient domain has none, and libvirt refuses the question.
        has_managed_save: managed_save.unwrap_or(false),
        metadata: metadata_xml::read(&element)?,
        document,
    }))
}

/// Returns the description; of a running domain, the one of this run.
pub fn live_document(domain: &VirtDomain, name: &str) -> Result<Document> {
    document(domain, name, sys::VIR_DOMAIN_XML_SECURE)
}

/// Returns the description that a domain will have at its next start.
pub fn next_document(domain: &VirtDomain, name: &str) -> Result<Document> {
    document(domain, name, INACTIVE)
}

fn document(domain: &VirtDomain, name: &str, flags: u32) -> Result<Document> {
    let failed = |error| fault::failed(format!("cannot read the domain `{name}`"), &error);
    domain.xml_desc(flags).map(|xml| own(&xml)).map_err(failed)
}

/// Returns a description without a disk that is there for a copy.
fn own(xml: &str) -> Document {
    let document = from_libvirt(xml);
    if !xml.contains(transfer_xml::SERIAL) {
        return document;
    }
    match domain_xml::parse(&document) {
        Ok(mut domain) => {
            transfer_xml::clear(&mut domain);
            Document(domain.to_string())
        }
        Err(_) => document,
    }
}

/// Lists the images of the disks, now and at the next start.
pub fn disk_images(domain: &VirtDomain, name: &str) -> Result<Vec<Image>> {
    let mut images = Vec::new();
    for flags in [sys::VIR_DOMAIN_XML_SECURE, INACTIVE] {
        let element = domain_xml::parse(&document(domain, name, flags)?)?;
        images.extend(domain_facts::disks(&element).iter().filter_map(Disk::image));
    }
    images.sort();
    images.dedup();
    Ok(images)
}

pub fn define(connect: &Connect, name: &str, xml: &str) -> Result<()> {
    match connect.define_domain_xml_flags(xml, 0) {
        Ok(_) => Ok(()),
        Err(error) => Err(fault::failed(format!("cannot define the domain `{name}`"), &error)),
    }
}
