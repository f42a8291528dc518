//! Calls on the snapshots of a domain.

use std::path::Path;

use serde_json::{Value, json};
use virt::domain::Domain as VirtDomain;
use virt::domain_snapshot::DomainSnapshot;
use virt::error::{Error as VirtError, ErrorNumber};
use virt::sys;

use crate::error::Result;
use crate::hypervisor::{Document, Memory, RevertFlags, Snapshot, SnapshotSpec};
use crate::libvirt::domain::power::{self, flags};
use crate::libvirt::fault;
use crate::libvirt::guest::monitor;
use crate::libvirt::memory::save_image;
use crate::libvirt::snapshot::internal;
use crate::libvirt::xml::element::from_libvirt;
use crate::libvirt::xml::{domain_facts, domain_xml, snapshot_xml};

/// Lists the snapshots.
pub fn list(domain: &VirtDomain, name: &str) -> Result<Vec<Snapshot>> {
    let failed = |error| fault::failed(format!("cannot list the snapshots of `{name}`"), &error);
    let found = domain.list_all_snapshots(0).map_err(failed)?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let current = current(domain).map_err(failed)?;
    let mut snapshots = Vec::with_capacity(found.len());
    for snapshot in found {
        match snapshot.xml_desc(sys::VIR_DOMAIN_SNAPSHOT_XML_SECURE) {
            Ok(xml) => {
                let mut snapshot = snapshot_xml::read(&from_libvirt(&xml))?;
                snapshot.is_current = current.as_ref() == Some(&snapshot.name);
                snapshots.push(snapshot);
            }
            // It was deleted meanwhile.
            Err(error) if fault::code(&error) == ErrorNumber::NoDomainSnapshot => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(snapshots)
}

/// Lists the names of the snapshots.
pub fn names(domain: &VirtDomain, name: &str) -> Result<Vec<String>> {
    let failed = |error| fault::failed(format!("cannot list the snapshots of `{name}`"), &error);
    domain.list_all_snapshots(0).map_err(failed)?.iter().map(|snapshot| snapshot.name().map_err(failed)).collect()
}

fn current(domain: &VirtDomain) -> Result<Option<String>, VirtError> {
    match domain.current_snapshot(0).and_then(|snapshot| snapshot.name()) {
        Ok(name) => Ok(Some(name)),
        Err(error) if fault::code(&error) == ErrorNumber::NoDomainSnapshot => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts a snapshot that was read before into the tree, or in the place of the one with its name.
///
/// libvirt leaves the current snapshot current when it is replaced, even without the flag.
pub fn redefine(
    domain: &VirtDomain,
    name: &str,
    document: &Document,
    parent: Option<&str>,
    current: bool,
) -> Result<()> {
    let mut xml = snapshot_xml::reparent(document, parent)?;
    if current {
        let failed = |error| fault::failed(format!("cannot read the domain `{name}`"), &error);
        let flags = sys::VIR_DOMAIN_XML_SECURE | sys::VIR_DOMAIN_XML_INACTIVE;
        let present = domain_xml::parse(&from_libvirt(&domain.xml_desc(flags).map_err(failed)?))?;
        snapshot_xml::replace_overlays(&mut xml, &domain_facts::disks(&present));
    }
    let snapshot = xml.text_of("name").unwrap_or_default();
    create_metadata(domain, name, snapshot, &xml.to_string(), current)
}

/// Puts a new snapshot into the tree.
pub fn define(domain: &VirtDomain, name: &str, spec: &SnapshotSpec) -> Result<()> {
    let uuid =
        domain.uuid_string().map_err(|error| fault::failed(format!("cannot read the domain `{name}`"), &error))?;
    let snapshot = snapshot_xml::build(spec, name, &uuid)?;
    if let (Memory::External(image), Some(domain)) = (&spec.memory, snapshot.find("domain")) {
        // A clone saved it, and libvirt restores it for no other domain. snaptree's record of the snapshot is in the
        // tree, and may be larger than the room that there is.
        let mut domain = domain.clone();
        domain.remove(&["metadata"]);
        save_image::rename(image, &domain)?;
    }
    create_metadata(domain, name, &spec.name, &snapshot.to_string(), spec.current)
}

fn create_metadata(domain: &VirtDomain, name: &str, snapshot: &str, xml: &str, current: bool) -> Result<()> {
    let current = (current, sys::VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT);
    let flags = flags([(true, sys::VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE), current]);
    match domain.create_snapshot_xml(xml, flags) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(fault::failed(format!("cannot put the snapshot `{snapshot}` into the tree of `{name}`"), &error))
        }
    }
}

/// Reverts to an internal snapshot.
pub fn revert(domain: &VirtDomain, name: &str, snapshot: &str, flags_wanted: RevertFlags) -> Result<()> {
    let failed = |error| fault::failed(format!("cannot revert `{name}` to the snapshot `{snapshot}`"), &error);
    let RevertFlags { running, paused, force, reset_nvram } = flags_wanted;
    let flags = flags([
        (running, sys::VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING),
        (paused, sys::VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED),
        (force, sys::VIR_DOMAIN_SNAPSHOT_REVERT_FORCE),
        (reset_nvram, sys::VIR_DOMAIN_SNAPSHOT_REVERT_RESET_NVRAM),
    ]);
    let found = find(domain, snapshot).map_err(failed)?;
    let held = snapshot_xml::images(&described(&found).map_err(failed)?)?;
    let mut misread = Vec::new();
    for image in held {
        if internal::is_misread(&image, snapshot)? {
            misread.push(image);
        }
    }
    if !misread.is_empty() {
        // libvirt would stop it too, to start a new QEMU.
        power::destroy(domain, name)?;
        misread.iter().try_for_each(|image| internal::give_way(image, snapshot))?;
    }
    found.revert(flags).map_err(failed)
}

/// Deletes an internal snapshot with its content.
pub fn delete_internal(domain: &VirtDomain, name: &str, snapshot: &str) -> Result<()> {
    // libvirt turns it into the name of a job, and QEMU accepts only some names for those.
    let is_taken = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if snapshot.chars().all(is_taken) || !domain.is_active().unwrap_or(false) {
        return delete(domain, name, snapshot, 0);
    }
    let failed = |error| fault::failed(format!("cannot remove the snapshot `{snapshot}` of `{name}`"), &error);
    let found = find(domain, snapshot).map_err(failed)?;
    let images = snapshot_xml::images(&described(&found).map_err(failed)?)?;
    let blocks = monitor::execute(domain, "query-block", &json!({}))?;
    for inserted in blocks.as_array().into_iter().flatten().map(|block| &block["inserted"]) {
        let image = &inserted["image"];
        let is_meant =
            image["filename"].as_str().is_some_and(|file| images.iter().any(|image| image == Path::new(file)));
        let holds = |held: &Vec<Value>| held.iter().any(|held| held["name"] == snapshot);
        if is_meant && image["snapshots"].as_array().is_some_and(holds) {
            let of = json!({ "device": inserted["node-name"], "name": snapshot });
            monitor::execute(domain, "blockdev-snapshot-delete-internal-sync", &of)?;
        }
    }
    delete(domain, name, snapshot, sys::VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)
}

/// Deletes a snapshot, by these flags.
pub fn delete(domain: &VirtDomain, name: &str, snapshot: &str, flags: u32) -> Result<()> {
    let failed = |error| fault::failed(format!("cannot remove the snapshot `{snapshot}` of `{name}`"), &error);
    find(domain, snapshot).and_then(|found| found.delete(flags)).map_err(failed)
}

fn described(snapshot: &DomainSnapshot) -> Result<Document, VirtError> {
    snapshot.xml_desc(sys::VIR_DOMAIN_SNAPSHOT_XML_SECURE).map(|xml| from_libvirt(&xml))
}

fn find(domain: &VirtDomain, snapshot: &str) -> Result<DomainSnapshot, VirtError> {
    VirtDomain::lookup_snapshot_by_name(domain, snapshot, 0)
}
