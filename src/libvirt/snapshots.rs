//! Calls on the snapshots of a domain.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use virt::connect::Connect;
use virt::domain::Domain as VirtDomain;
use virt::domain_snapshot::DomainSnapshot;
use virt::error::{Error as VirtError, ErrorNumber};
use virt::sys;

use crate::error::Result;
use crate::hypervisor::{
    Disk, DiskFile, Document, Memory, RevertFlags, Snapshot, SnapshotFlags, SnapshotKind, SnapshotRequest, SnapshotSpec,
};
use crate::libvirt::power::flags;
use crate::libvirt::xml::{Element, from_libvirt};
use crate::libvirt::{
    domain_facts, domain_xml, domains, fault, internal, monitor, overlay, power, save_image, snapshot_xml,
};

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
            // Somebody deleted it meanwhile.
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

/// Takes a snapshot. `validate` lets libvirt hold our XML against its schema.
pub fn create(
    connect: &Connect,
    domain: &VirtDomain,
    name: &str,
    request: &SnapshotRequest,
    validate: bool,
) -> Result<()> {
    let failed = |error| fault::failed(format!("cannot take the snapshot `{}` of `{name}`", request.name), &error);
    let document = from_libvirt(&domain.xml_desc(0).map_err(failed)?);
    let described = domain_xml::parse(&document)?;
    let is_active = described.get("id").is_some();
    let xml = snapshot_xml::build_request(request, &described)?.to_string();
    let SnapshotFlags { disk_only, atomic, quiesce, halt, live, reuse_external } = request.flags;
    let made = if reuse_external { Made::default() } else { Made::for_commas(request, &described)? };
    let flags = flags([
        (disk_only, sys::VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY),
        (atomic, sys::VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC),
        (quiesce, sys::VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE),
        (halt, sys::VIR_DOMAIN_SNAPSHOT_CREATE_HALT),
        (live, sys::VIR_DOMAIN_SNAPSHOT_CREATE_LIVE),
        (reuse_external || !made.0.is_empty(), sys::VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT),
        (validate, sys::VIR_DOMAIN_SNAPSHOT_CREATE_VALIDATE),
    ]);
    // A transient one has no settings beyond this run.
    let settings = match request.kind {
        SnapshotKind::External if domain.is_persistent().map_err(failed)? => {
            Some(domain_xml::parse(&domains::next_document(domain, name)?)?)
        }
        _ => None,
    };
    domain.create_snapshot_xml(&xml, flags).map_err(failed)?;
    made.keep();
    if !reuse_external {
        let disks = domain_facts::disks(&described);
        for (target, overlay) in
            request.disks.iter().filter_map(|(target, overlay)| Some((target, overlay.as_deref()?)))
        {
            restrict(overlay);
            // The overlay of a running domain is QEMU's already.
            let file = disks.iter().find(|disk| disk.target == *target && !is_active).and_then(Disk::file);
            file.into_iter().for_each(|file| overlay::give_owner(overlay, file));
        }
    }
    settings.map_or(Ok(()), |settings| keep_settings(connect, domain, name, &settings, request))
}

/// Lets the disks have the settings again that they had before a snapshot: libvirt takes over some of them alone.
fn keep_settings(
    connect: &Connect,
    domain: &VirtDomain,
    name: &str,
    before: &Element,
    request: &SnapshotRequest,
) -> Result<()> {
    let after = domain_xml::parse(&domains::next_document(domain, name)?)?;
    let files: Vec<DiskFile> = domain_facts::disks(&after).iter().filter_map(Disk::with_file).collect();
    let mut wanted = after.clone();
    for disk in domain_xml::disks_of(&mut wanted) {
        let Some(target) = domain_facts::target(disk).filter(|target| request.disks.iter().any(|it| it.0 == *target))
        else {
            continue;
        };
        let file = files.iter().find(|file| file.target == target);
        if let (Some(old), Some(file)) = (domain_xml::find_disk(before, target), file) {
            let mut kept = old.clone();
            domain_xml::give_file(&mut kept, file)?;
            // What libvirt knows of the chain belongs to the new file.
            kept.children.extend(disk.find("backingStore").cloned());
            *disk = kept;
        }
    }
    let has_lost = |(wanted, after): (&Element, &Element)| !wanted.is_like(after);
    let devices = |domain: &Element| domain.find("devices").map(|devices| devices.children.clone()).unwrap_or_default();
    if devices(&wanted).iter().zip(&devices(&after)).any(has_lost) {
        domains::define(connect, name, &wanted.to_string())?;
    }
    Ok(())
}

/// Overlays that were made for libvirt, removed on drop.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    /// Makes all overlays of a domain that is shut off when one has a comma in its path: libvirt writes it twice there,
    /// and so makes another file than the one that it names.
    fn for_commas(request: &SnapshotRequest, domain: &Element) -> Result<Self> {
        let mut made = Self::default();
        let overlays = || request.disks.iter().filter_map(|(target, overlay)| Some((target, overlay.as_deref()?)));
        let is_active = domain.get("id").is_some();
        if is_active || !overlays().any(|(_, overlay)| overlay.as_os_str().as_encoded_bytes().contains(&b',')) {
            return Ok(made);
        }
        let disks = domain_facts::disks(domain);
        for (target, overlay) in overlays() {
            let disk = disks.iter().find(|disk| disk.target == *target);
            let Some(image) = disk.and_then(Disk::image) else { continue };
            made.0.push(overlay.to_path_buf());
            overlay::create(overlay, &image)?;
        }
        Ok(made)
    }

    /// Leaves them to the domain.
    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for overlay in &self.0 {
            // It may never have been made.
            let _ = fs::remove_file(overlay);
        }
    }
}

/// Takes an overlay from everybody's eyes: libvirt leaves the ones of a domain that is shut off readable.
fn restrict(overlay: &Path) {
    let is_open = fs::metadata(overlay).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0);
    if is_open {
        // The snapshot is taken; a file that is not ours stays as libvirt made it.
        let _ = fs::set_permissions(overlay, Permissions::from_mode(0o600));
    }
}

/// Puts a snapshot that was read before into the tree, or in the place of the one of its name.
///
/// libvirt leaves the current snapshot the current one when it is replaced, also without the flag.
pub fn put(domain: &VirtDomain, name: &str, document: &Document, parent: Option<&str>, current: bool) -> Result<()> {
    let mut xml = snapshot_xml::reparent(document, parent)?;
    if current {
        let failed = |error| fault::failed(format!("cannot read the domain `{name}`"), &error);
        let flags = sys::VIR_DOMAIN_XML_SECURE | sys::VIR_DOMAIN_XML_INACTIVE;
        let present = domain_xml::parse(&from_libvirt(&domain.xml_desc(flags).map_err(failed)?))?;
        snapshot_xml::replace_overlays(&mut xml, &domain_facts::disks(&present));
    }
    let snapshot = xml.text_of("name").unwrap_or_default();
    redefine(domain, name, snapshot, &xml.to_string(), current)
}

/// Puts a new snapshot into the tree.
pub fn put_new(domain: &VirtDomain, name: &str, spec: &SnapshotSpec) -> Result<()> {
    let uuid =
        domain.uuid_string().map_err(|error| fault::failed(format!("cannot read the domain `{name}`"), &error))?;
    let snapshot = snapshot_xml::build(spec, name, &uuid)?;
    if let (Memory::External(image), Some(domain)) = (&spec.memory, snapshot.find("domain")) {
        // It was saved by a clone, and libvirt restores it for no other domain. What is remembered of the snapshot is
        // in the tree, and may be more than there is room for.
        let mut domain = domain.clone();
        domain.remove(&["metadata"]);
        save_image::rename(image, &domain)?;
    }
    redefine(domain, name, &spec.name, &snapshot.to_string(), spec.current)
}

fn redefine(domain: &VirtDomain, name: &str, snapshot: &str, xml: &str, current: bool) -> Result<()> {
    let current = (current, sys::VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT);
    let flags = flags([(true, sys::VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE), current]);
    match domain.create_snapshot_xml(xml, flags) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(fault::failed(format!("cannot put the snapshot `{snapshot}` into the tree of `{name}`"), &error))
        }
    }
}

/// Goes back to an internal snapshot.
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
        // libvirt would stop it too, to start QEMU anew.
        power::destroy(domain, name)?;
        misread.iter().try_for_each(|image| internal::give_way(image, snapshot))?;
    }
    found.revert(flags).map_err(failed)
}

/// Deletes an internal snapshot with what it holds.
pub fn delete_internal(domain: &VirtDomain, name: &str, snapshot: &str) -> Result<()> {
    // libvirt makes the name of a job of it, which QEMU does not take from everybody.
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
