//! The disks in a domain's XML.

use std::path::Path;

use crate::error::{Error, Result};
use crate::hypervisor::{DiskChanges, DiskFile};
use crate::libvirt::xml::domain_facts::{devices_mut, target};
use crate::libvirt::xml::element::Element;
use crate::paths::for_libvirt;

/// Says whether a disk of a running domain has no backing file.
pub fn stands_alone(domain: &Element, wanted: &str) -> Result<bool> {
    match find_disk(domain, wanted) {
        Some(disk) => Ok(disk.find("backingStore").is_some_and(|backing| backing.children.is_empty())),
        None => Err(no_disk(wanted)),
    }
}

/// Returns a qcow2 file for a disk.
pub fn qcow2(target: &str, file: &Path) -> DiskFile {
    DiskFile { target: target.to_string(), file: file.to_path_buf(), format: "qcow2".to_string() }
}

/// Gives other files to the disks named by target.
pub fn replace_disks(domain: &mut Element, files: &[DiskFile]) -> Result<()> {
    let mut missing: Vec<&DiskFile> = files.iter().collect();
    for disk in disks_of(domain) {
        let Some(position) = missing.iter().position(|file| target(disk) == Some(&file.target)) else { continue };
        give_file(disk, missing.swap_remove(position))?;
    }
    match missing.first() {
        Some(missing) => Err(no_disk(&missing.target)),
        None => Ok(()),
    }
}

/// Changes the disks of a domain whose present description is `now`.
pub fn change_disks(domain: &mut Element, changes: &DiskChanges, now: &Element) -> Result<()> {
    for disk in disks_of(domain) {
        let Some(target) = target(disk) else { continue };
        if changes.as_now.iter().any(|as_now| as_now == target) {
            if let Some(now) = find_disk(now, target) {
                take_content(disk, now);
            }
        } else if let Some(file) = changes.files.iter().find(|file| file.target == target) {
            give_file(disk, file)?;
        }
    }
    Ok(())
}

/// Gives a disk another file, and keeps all settings that are not about the one before.
pub fn give_file(disk: &mut Element, DiskFile { file, format, .. }: &DiskFile) -> Result<()> {
    let (file, old) = (for_libvirt(file)?, disk.find("source"));
    let has_it = disk.get("type").unwrap_or("file") == "file" && old.and_then(|old| old.get("file")) == Some(file);
    if has_it && disk.find("driver").and_then(|driver| driver.get("type")) == Some(format) {
        return Ok(());
    }
    let mut source = Element::new("source").with("file", file);
    if let Some(old) = old {
        let policy = old.get("startupPolicy").map(|policy| ("startupPolicy".to_string(), policy.to_string()));
        source.attributes.extend(policy);
        source.children.extend(old.all("seclabel").cloned());
    }
    disk.set("type", "file");
    // They describe the backing chain of the other file.
    disk.remove(&["backingStore", "mirror"]);
    disk.put(source);
    match disk.find_mut("driver") {
        Some(driver) => driver.set("type", format),
        None => {
            disk.children.insert(0, Element::new("driver").with("name", "qemu").with("type", format));
        }
    }
    Ok(())
}

/// Gives a disk the content of another one.
fn take_content(disk: &mut Element, other: &Element) {
    const CONTENT: [&str; 6] = ["driver", "auth", "source", "backingStore", "mirror", "encryption"];
    disk.set("type", other.get("type").unwrap_or("file"));
    disk.remove(&CONTENT);
    let content = other.children.iter().filter(|child| CONTENT.contains(&child.name.as_str()));
    disk.children.splice(0..0, content.cloned());
}

pub fn find_disk<'a>(domain: &'a Element, wanted: &str) -> Option<&'a Element> {
    domain.find("devices")?.all("disk").find(|disk| target(disk) == Some(wanted))
}

pub fn disks_of(domain: &mut Element) -> impl Iterator<Item = &mut Element> {
    devices_mut(domain).filter(|device| device.name == "disk")
}

pub fn no_disk(target: &str) -> Error {
    Error::failed(format!("the domain has no disk `{target}`")).hint("`virsh domblklist` lists what it has")
}

#[cfg(test)]
mod tests;
