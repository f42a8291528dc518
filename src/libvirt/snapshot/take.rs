//! Taking a snapshot of a domain.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use virt::connect::Connect;
use virt::domain::Domain as VirtDomain;
use virt::sys;

use crate::error::Result;
use crate::hypervisor::{Disk, DiskFile, SnapshotFlags, SnapshotKind, SnapshotRequest};
use crate::libvirt::domain::domains;
use crate::libvirt::domain::power::flags;
use crate::libvirt::fault;
use crate::libvirt::image::overlay;
use crate::libvirt::xml::element::{Element, from_libvirt};
use crate::libvirt::xml::{disk_xml, domain_facts, domain_xml, snapshot_xml};

/// Takes a snapshot. With `validate`, libvirt checks our XML against its schema.
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
            // The overlay of a running domain already belongs to QEMU.
            let file = disks.iter().find(|disk| disk.target == *target && !is_active).and_then(Disk::file);
            file.into_iter().for_each(|file| overlay::give_owner(overlay, file));
        }
    }
    settings.map_or(Ok(()), |settings| keep_settings(connect, domain, name, &settings, request))
}

/// Restores the settings that the disks had before a snapshot: libvirt carries over only some of them.
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
    for disk in disk_xml::disks_of(&mut wanted) {
        let Some(target) = domain_facts::target(disk).filter(|target| request.disks.iter().any(|it| it.0 == *target))
        else {
            continue;
        };
        let file = files.iter().find(|file| file.target == target);
        if let (Some(old), Some(file)) = (disk_xml::find_disk(before, target), file) {
            let mut kept = old.clone();
            disk_xml::give_file(&mut kept, file)?;
            // libvirt's record of the chain belongs to the new file.
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
    /// Makes all overlays of a domain that is shut off if one has a comma in its path: libvirt doubles the comma there,
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

/// Hides an overlay from other users: libvirt leaves those of a domain that is shut off readable.
fn restrict(overlay: &Path) {
    let is_open = fs::metadata(overlay).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0);
    if is_open {
        // The snapshot is taken; a file that is not ours stays as libvirt made it.
        let _ = fs::set_permissions(overlay, Permissions::from_mode(0o600));
    }
}
