//! Calls that start, stop, save and restore a domain.

use std::path::Path;

use virt::connect::Connect;
use virt::domain::Domain as VirtDomain;
use virt::error::{Error as VirtError, ErrorNumber};
use virt::stream::Stream;
use virt::sys;

use crate::error::{Because, Result};
use crate::hypervisor::{DiskChanges, DiskFile, Document, Ram, Saved, Start};
use crate::libvirt::domain::domains;
use crate::libvirt::xml::element::{Element, from_libvirt};
use crate::libvirt::xml::{disk_xml, domain_xml, live_xml};
use crate::libvirt::{fault, raw};
use crate::paths;

/// Starts a domain that is shut off.
pub fn start(domain: &VirtDomain, name: &str, start: Start) -> Result<()> {
    let flags =
        flags([(start.paused, sys::VIR_DOMAIN_START_PAUSED), (start.reset_nvram, sys::VIR_DOMAIN_START_RESET_NVRAM)]);
    domain.create_with_flags(flags).map_err(|error| fault::failed(format!("cannot start the domain `{name}`"), &error))
}

/// Attaches a disk that the running domain in `document` had, with another file.
pub fn attach(domain: &VirtDomain, name: &str, document: &Document, disk: &DiskFile) -> Result<()> {
    let target = &disk.target;
    let mut described = domain_xml::parse(document)?;
    domain_xml::clean(&mut described);
    let mut element = disk_xml::find_disk(&described, target).cloned().ok_or_else(|| disk_xml::no_disk(target))?;
    disk_xml::give_file(&mut element, disk)?;
    // What the domain now starts with may be plugged in at that address.
    element.remove(&["address"]);
    let attached = domain.attach_device_flags(&element.to_string(), sys::VIR_DOMAIN_AFFECT_LIVE);
    attached.map(drop).map_err(|error| fault::failed(format!("cannot attach disk `{target}` to `{name}`"), &error))
}

/// Asks the guest to power off.
pub fn shutdown(domain: &VirtDomain, name: &str) -> Result<()> {
    domain.shutdown().map_err(|error| fault::failed(format!("cannot shut the domain `{name}` down"), &error))
}

/// Stops the processors.
pub fn suspend(domain: &VirtDomain, name: &str) -> Result<()> {
    domain.suspend().map_err(|error| fault::failed(format!("cannot suspend the domain `{name}`"), &error))
}

/// Resumes the processors.
pub fn resume(domain: &VirtDomain, name: &str) -> Result<()> {
    domain.resume().map_err(|error| fault::failed(format!("cannot resume the domain `{name}`"), &error))
}

/// Stops a domain at once. It is no error if it is not running or already gone.
pub fn destroy(domain: &VirtDomain, name: &str) -> Result<()> {
    match domain.destroy() {
        Err(error) if !matches!(fault::code(&error), ErrorNumber::NoDomain | ErrorNumber::OperationInvalid) => {
            Err(fault::failed(format!("cannot stop the domain `{name}`"), &error))
        }
        _ => Ok(()),
    }
}

/// Writes the RAM into a file and stops the domain.
pub fn save(domain: &VirtDomain, name: &str, file: &Path) -> Result<Saved> {
    let failed = |error| fault::failed(format!("cannot save the RAM of the domain `{name}`"), &error);
    match raw::save(domain, &path(file)?) {
        Ok(()) => Ok(Saved::Written),
        Err(error) if error.message().contains("paused due to previous migration") => Ok(Saved::AsBefore),
        Err(error) => Err(failed(error)),
    }
}

/// Starts the domain whose RAM `file` holds.
pub fn restore(connect: &Connect, file: &Path, disks: &DiskChanges, paused: bool) -> Result<()> {
    let failed = |error| fault::failed(format!("cannot restore a domain from `{}`", file.display()), &error);
    let name = path(file)?;
    let xml = connect.save_image_xml_desc(&name, sys::VIR_DOMAIN_SAVE_IMAGE_XML_SECURE).map_err(failed)?;
    let mut domain = domain_xml::parse(&from_libvirt(&xml))?;
    let now = match domain.text_of("name").map(|name| connect.lookup_domain_by_name(name)) {
        Some(Ok(now)) => {
            let name = domain.text_of("name").unwrap_or_default();
            domain_xml::parse(&domains::next_document(&now, name)?)?
        }
        // It was transient, and is created again.
        _ => Element::default(),
    };
    disk_xml::change_disks(&mut domain, disks, &now)?;
    if live_xml::forget(&mut domain) {
        // The file may be gone, and the saved state fits RAM of that name in any place.
        live_xml::place(&mut domain, &Ram::Anonymous, false);
    }
    let flags = if paused { sys::VIR_DOMAIN_SAVE_PAUSED } else { sys::VIR_DOMAIN_SAVE_RUNNING };
    connect.restore_domain_flags(&name, Some(&domain.to_string()), flags).map_err(failed)
}

/// Takes a picture of the first screen.
pub fn screenshot(connect: &Connect, domain: &VirtDomain, name: &str) -> Result<(String, Vec<u8>)> {
    let failed = |error| fault::failed(format!("cannot take a picture of the screen of `{name}`"), &error);
    let stream = Stream::new(connect, 0).map_err(failed)?;
    let kind = domain.screenshot(&stream, 0, 0).map_err(failed)?;
    match receive(&stream) {
        Ok(picture) => stream.finish().map(|()| (kind, picture)).map_err(failed),
        Err(error) => {
            // The first error says what failed.
            let _ = stream.abort();
            Err(failed(error))
        }
    }
}

fn receive(stream: &Stream) -> Result<Vec<u8>, VirtError> {
    let mut received = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match usize::try_from(stream.recv(&mut buffer)?) {
            Ok(0) => return Ok(received),
            Ok(length) => received.extend_from_slice(&buffer[..length]),
            // Only a non-blocking stream reports that it has nothing yet.
            Err(_) => return Err(VirtError::last_error()),
        }
    }
}

/// Combines the flags that are wanted.
pub fn flags<const N: usize>(flags: [(bool, u32); N]) -> u32 {
    flags.into_iter().filter(|(is_wanted, _)| *is_wanted).fold(0, |all, (_, flag)| all | flag)
}

/// Returns a path as libvirt takes it.
pub fn path(file: &Path) -> Result<String> {
    let absolute =
        std::path::absolute(file).because(|| format!("libvirt cannot take the path `{}`", file.display()))?;
    paths::for_libvirt(&absolute).map(str::to_string)
}
