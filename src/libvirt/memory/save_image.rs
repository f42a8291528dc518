//! The file that libvirt saves a guest to: its header holds the domain's XML, and libvirt restores no other domain.
//!
//! The header is a magic of 16 bytes and 19 numbers of 32 bits; then come the XML, ended by a NUL, and libvirt's own
//! notes, in as many bytes as the second number says; then the guest's state as QEMU wrote it.

use std::fs::{File, Permissions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use virt::connect::Connect;
use virt::sys;

use crate::error::{Because, Error, Result};
use crate::hypervisor::{Disk, DiskFile, Ram};
use crate::libvirt::clone::clone_xml;
use crate::libvirt::clone::rule::Identity;
use crate::libvirt::domain::power;
use crate::libvirt::fault;
use crate::libvirt::image::sparse;
use crate::libvirt::xml::element::{Element, from_libvirt};
use crate::libvirt::xml::{disk_xml, domain_facts, domain_xml, live_xml, metadata_xml};

const MAGIC: &[u8] = b"LibvirtQemudSave";
const NUMBERS: usize = 19;
const HEADER: usize = MAGIC.len() + 4 * NUMBERS;
/// Which numbers hold the combined length of the XML and the notes, and where the notes begin.
const LENGTH: usize = 1;
const NOTES: usize = 4;
/// The most that is read of what claims to be XML.
const LARGEST: usize = 64 << 20;

/// Starts a transient domain from a guest that was saved under another domain.
pub fn restore_as(connect: &Connect, image: &Path, domain: &Element, paused: bool) -> Result<()> {
    let name = domain.text_of("name").unwrap_or_default();
    let disks: Vec<PathBuf> =
        domain_facts::disks(domain).iter().filter_map(|disk| Some(disk.file()?.to_path_buf())).collect();
    let copy = place_of_copy(name, &disks, image);
    let restored = sparse::copy(image, &copy).and_then(|()| rewrite(&copy, domain, true)).and_then(|()| {
        let flags = if paused { sys::VIR_DOMAIN_SAVE_PAUSED } else { sys::VIR_DOMAIN_SAVE_RUNNING };
        let failed = |error| fault::failed("libvirt cannot restore it", &error);
        connect.restore_domain_flags(&power::path(&copy)?, None, flags).map_err(failed)
    });
    // libvirt has read it, or cannot use it: the copy is not needed either way.
    let _ = std::fs::remove_file(&copy);
    restored.map_err(|error| {
        Error::failed(format!("the guest of `{name}` cannot resume from `{}`", image.display())).caused_by(error)
    })
}

/// Names a clone's copy of an image after the clone, beside the clone's own disk, so that it counts as debris if this
/// process is killed. The clone's other disks do not belong to it.
fn place_of_copy(clone: &str, disks: &[PathBuf], image: &Path) -> PathBuf {
    let id = clone.rsplit('.').next().unwrap_or(clone);
    let owner = id.rsplit('-').nth(1).unwrap_or(id);
    let is_own = |disk: &&PathBuf| disk.file_name().is_some_and(|name| name.to_string_lossy().contains(owner));
    disks.iter().find(is_own).map_or(image, |disk| disk).with_file_name(format!("{id}.restore"))
}

/// Rewrites an image, which may be sealed, for another domain.
pub fn rename(image: &Path, domain: &Element) -> Result<()> {
    rewrite(image, domain, false)
}

fn rewrite(image: &Path, domain: &Element, is_clone: bool) -> Result<()> {
    let failed = || format!("cannot write another domain into `{}`", image.display());
    let sealed = std::fs::metadata(image).because(failed)?.permissions();
    std::fs::set_permissions(image, Permissions::from_mode(0o600)).because(failed)?;
    let mut file = File::options().read(true).write(true).open(image).because(failed)?;
    let mut header = vec![0; HEADER];
    file.read_exact(&mut header).because(failed)?;
    let length = number(&header, LENGTH).unwrap_or(usize::MAX);
    if !header.starts_with(MAGIC) || length > LARGEST {
        return Err(Error::failed(failed()).cause("libvirt did not save it"));
    }
    let mut data = vec![0; length];
    file.read_exact(&mut data).because(failed)?;
    let data =
        with_domain(&mut header, &data, domain, is_clone).map_err(|error| Error::failed(failed()).caused_by(error))?;
    file.rewind().and_then(|()| file.write_all(&header)).and_then(|()| file.write_all(&data)).because(failed)?;
    file.set_permissions(sealed).because(failed)
}

/// Removes what belongs to one run of a domain, except the name of its RAM in the saved state.
fn clean_saved(domain: &mut Element) {
    let was_placed = live_xml::forget(domain);
    domain_xml::clean(domain);
    if was_placed {
        live_xml::place(domain, &Ram::Anonymous, false);
    }
}

/// Gives the domain in the data another name, uuid, disks and metadata; the data keep their length, since the guest's
/// state comes after them.
fn with_domain(header: &mut [u8], data: &[u8], domain: &Element, is_clone: bool) -> Result<Vec<u8>> {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let notes = match number(header, NOTES) {
        Some(0) | None => &[],
        Some(begin) => data.get(begin..).unwrap_or_default(),
    };
    let notes = &notes[..notes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)];
    let xml = String::from_utf8_lossy(&data[..end]).into_owned();
    let mut saved = domain_xml::parse(&from_libvirt(&xml))?;
    clean_saved(&mut saved);
    let own = |name: &str| domain.text_of(name).unwrap_or_default();
    if is_clone {
        let nvram = own_nvram(domain);
        let identity = Identity { name: own("name"), uuid: own("uuid"), nvram: &nvram, exists: Path::exists };
        clone_xml::apply(&mut saved, &identity).map_err(Error::failed)?;
    } else if let (Some(os), Some(nvram)) = (saved.find_mut("os"), domain.find("os").and_then(|os| os.find("nvram"))) {
        // It belongs to another domain, which may be gone.
        os.put(nvram.clone());
    }
    domain_xml::identify(&mut saved, own("name"), own("uuid"));
    domain.find("genid").into_iter().for_each(|id| saved.put(id.clone()));
    metadata_xml::adopt(&mut saved, domain);
    let files: Vec<DiskFile> = domain_facts::disks(domain).iter().filter_map(Disk::with_file).collect();
    disk_xml::replace_disks(&mut saved, &files)?;
    let mut renamed = saved.to_string().into_bytes();
    renamed.push(0);
    if !notes.is_empty() {
        set_number(header, NOTES, renamed.len());
        renamed.extend_from_slice(notes);
        renamed.push(0);
    }
    if renamed.len() > data.len() {
        return Err(Error::failed(format!("its description needs {} bytes of {}", renamed.len(), data.len())));
    }
    renamed.resize(data.len(), 0);
    Ok(renamed)
}

/// Returns the file for the variables of a clone's firmware, or where it would be beside the clone's pstore.
fn own_nvram(domain: &Element) -> PathBuf {
    let nvram = domain.find("os").and_then(|os| os.text_of("nvram"));
    let pstore = || domain.find("devices")?.find("pstore")?.text_of("path");
    nvram.or_else(pstore).map(PathBuf::from).unwrap_or_default()
}

fn number(header: &[u8], which: usize) -> Option<usize> {
    let bytes = header.get(MAGIC.len() + 4 * which..)?.first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}

fn set_number(header: &mut [u8], which: usize, value: usize) {
    let place = MAGIC.len() + 4 * which;
    let value = u32::try_from(value).unwrap_or(u32::MAX);
    header[place..place + 4].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn domain(name: &str, disk: &str) -> Element {
        let xml = format!(
            "<domain type='qemu' id='3'><name>{name}</name><uuid>{name}-uuid</uuid>
               <devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{disk}'/>
                 <target dev='vda' bus='virtio'/><alias name='virtio-disk0'/></disk></devices></domain>"
        );
        Element::parse(&xml).unwrap()
    }

    /// Writes an image as libvirt does: with notes, and with so much room after them.
    fn image(domain: &Element, notes: &str, room: usize) -> Vec<u8> {
        let xml = domain.to_string();
        let mut data = [xml.as_bytes(), b"\0", notes.as_bytes(), b"\0"].concat();
        data.resize(data.len() + room, 0);
        let mut header = [MAGIC, &[0; 4 * NUMBERS]].concat();
        set_number(&mut header, LENGTH, data.len());
        set_number(&mut header, NOTES, xml.len() + 1);
        [header, data, b"the guest's state".to_vec()].concat()
    }

    #[test]
    fn an_image_becomes_the_one_of_another_domain() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("image");
        std::fs::write(&file, image(&domain("builder", "/builder.qcow2"), "<cookie/>", 512)).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o400)).unwrap();
        rename(&file, &domain("a-machine-with-a-longer-name", "/machine.qcow2")).unwrap();

        let renamed = std::fs::read(&file).unwrap();
        let (header, rest) = renamed.split_at(HEADER);
        let (data, state) = rest.split_at(number(header, LENGTH).unwrap());
        assert_eq!(state, b"the guest's state");
        let (xml, notes) = data.split_at(number(header, NOTES).unwrap());
        assert!(notes.starts_with(b"<cookie/>\0"));
        let xml = Element::parse(std::str::from_utf8(xml).unwrap().trim_end_matches('\0')).unwrap();
        assert_eq!(xml.text_of("name"), Some("a-machine-with-a-longer-name"));
        assert_eq!(xml.text_of("uuid"), Some("a-machine-with-a-longer-name-uuid"));
        assert_eq!(domain_facts::disks(&xml)[0].file(), Some(Path::new("/machine.qcow2")));
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o400);
    }

    #[test]
    fn a_copy_lies_beside_the_clones_own_disk_and_takes_no_other_name() {
        let disks = ["/iso/debian.iso", "/m/s-0123456789ab-3.qcow2"].map(PathBuf::from);
        let place = |disks: &[PathBuf]| place_of_copy("my.web.fork-0123456789ab-7", disks, Path::new("/vm/web.s1.ram"));
        assert_eq!(place(&disks), Path::new("/m/fork-0123456789ab-7.restore"));
        assert_eq!(place(&disks[..1]), Path::new("/vm/fork-0123456789ab-7.restore"));
    }

    #[test]
    fn what_is_no_image_or_has_no_room_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("image");
        let error = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            let error = rename(&file, &domain(&"long".repeat(50), "/x")).unwrap_err().to_string();
            assert_eq!(std::fs::read(&file).unwrap(), bytes);
            error.replace(&file.display().to_string(), "FILE")
        };
        let cannot = "cannot write another domain into `FILE`";
        assert_eq!(error(&[0; 200]), format!("{cannot}: libvirt did not save it"));
        let full = error(&image(&domain("b", "/b"), "", 0));
        assert!(full.starts_with(&format!("{cannot}: its description needs ")), "{full}");
    }
}
