//! An empty qcow2 image on another one.
//!
//! Every clone begins with one, and starting `qemu-img` for it would take a tenth of the time that a fork may take.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, chown};
use std::path::Path;

use crate::error::{Because, Error, Result};
use crate::hypervisor::Image;
use crate::libvirt::image::qcow2::{BACKING_FORMAT, MAGIC, u64_at};
use crate::libvirt::image::qemu_img;

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// What one entry of the first table of clusters covers.
const OF_AN_ENTRY: u64 = CLUSTER / 8 * CLUSTER;
/// The header, the table of reference counts and a block of these are in a cluster each; the first table follows.
const COUNTS_TABLE: u64 = CLUSTER;
const COUNTS: u64 = 2 * CLUSTER;
const FIRST_TABLE: u64 = 3 * CLUSTER;
const HEADER_LENGTH: u32 = 104;
/// The format's own limit.
const LONGEST_NAME: usize = 1023;
const SECTOR: u64 = 512;

/// Creates an empty qcow2 `overlay` on `backing` for its owner only, as `qemu-img create -b` does.
pub fn create(overlay: &Path, backing: &Image) -> Result<()> {
    let failed = || format!("cannot create the overlay `{}`", overlay.display());
    let Image { file, format } = backing;
    let file = std::path::absolute(file).because(failed)?;
    let unreadable = |cause| Error::failed(failed()).cause(format!("`{}`", file.display())).cause(cause);
    let size = size(&file, format).map_err(unreadable)?;
    if file.as_os_str().len() > LONGEST_NAME {
        let why = format!("the path of its backing file has more than {LONGEST_NAME} bytes");
        return Err(Error::failed(failed()).cause(why).hint("a shorter path to the store may help"));
    }
    match size {
        Some(size) => write(overlay, &file, size, format).because(failed)?,
        None => qemu_img::create_overlay(overlay, &Image::new(&file, format))?,
    }
    give_owner(overlay, &file);
    Ok(())
}

/// Gives an overlay to the owner of the file that it replaces: libvirt does not if the domain's security labels are not
/// to be changed.
pub fn give_owner(overlay: &Path, file: &Path) {
    // Only root can, and any other user's QEMU runs as that user.
    let _ = fs::metadata(file).and_then(|owner| chown(overlay, Some(owner.uid()), Some(owner.gid())));
}

/// Returns the size that a guest sees of an image; nothing if only QEMU reads its format.
fn size(image: &Path, format: &str) -> io::Result<Option<u64>> {
    let mut file = File::open(image)?;
    let mut head = Vec::new();
    match format {
        "qcow2" => {
            file.by_ref().take(32).read_to_end(&mut head)?;
            let size = u64_at(&head, 24).filter(|_| head.starts_with(MAGIC));
            size.map(Some).ok_or_else(|| io::Error::other("it is not a qcow2 image"))
        }
        // A block device tells its size in this way too.
        "raw" => Ok(Some(file.seek(SeekFrom::End(0))?.next_multiple_of(SECTOR))),
        _ => Ok(None),
    }
}

fn write(overlay: &Path, backing: &Path, size: u64, format: &str) -> io::Result<()> {
    let entries = size.div_ceil(OF_AN_ENTRY).max(1);
    let clusters = FIRST_TABLE / CLUSTER + (entries * 8).div_ceil(CLUSTER);
    let too_large = |_| io::Error::other("it would be too large");
    let counts = 1u16.to_be_bytes().repeat(usize::try_from(clusters).map_err(too_large)?);
    let file = File::options().create(true).truncate(true).write(true).mode(0o600).open(overlay)?;
    file.set_len(clusters * CLUSTER)?;
    file.write_all_at(&header(backing, size, format, u32::try_from(entries).map_err(too_large)?), 0)?;
    file.write_all_at(&COUNTS.to_be_bytes(), COUNTS_TABLE)?;
    file.write_all_at(&counts, COUNTS)
}

fn header(backing: &Path, size: u64, format: &str, entries: u32) -> Vec<u8> {
    let name = backing.as_os_str().as_bytes();
    let mut extension = BACKING_FORMAT.to_be_bytes().to_vec();
    extension.extend((format.len() as u32).to_be_bytes());
    extension.extend(format.as_bytes());
    extension.resize(extension.len().next_multiple_of(8), 0);
    // The end of the extensions.
    extension.extend([0; 8]);
    let name_offset = u64::from(HEADER_LENGTH) + extension.len() as u64;

    let mut header = MAGIC.to_vec();
    header.extend(3u32.to_be_bytes());
    header.extend(name_offset.to_be_bytes());
    header.extend((name.len() as u32).to_be_bytes());
    header.extend(CLUSTER_BITS.to_be_bytes());
    header.extend(size.to_be_bytes());
    // No encryption.
    header.extend(0u32.to_be_bytes());
    header.extend(entries.to_be_bytes());
    header.extend(FIRST_TABLE.to_be_bytes());
    header.extend(COUNTS_TABLE.to_be_bytes());
    header.extend(1u32.to_be_bytes());
    // No internal snapshots, and no features that a reader has to know.
    header.extend([0; 4 + 8 + 3 * 8]);
    // Reference counts of 2 to the 4th bits.
    header.extend(4u32.to_be_bytes());
    header.extend(HEADER_LENGTH.to_be_bytes());
    header.extend(extension);
    header.extend(name);
    header
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::libvirt::image::qcow2::backing_chain;

    #[test]
    fn an_overlay_is_backed_by_its_image_and_is_as_large() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("raw:1"), [7; 700]).unwrap();
        let raw = Image::new(path("raw:1"), "raw");
        create(&path("one"), &raw).unwrap();
        create(&path("two"), &Image::qcow2(path("one"))).unwrap();
        assert_eq!(backing_chain(&Image::qcow2(path("two"))).unwrap(), [Image::qcow2(path("one")), raw]);
        assert_eq!(size(&path("two"), "qcow2").unwrap(), Some(1024));
        // What was there before is gone.
        fs::write(path("two"), [1; 1 << 20]).unwrap();
        create(&path("two"), &Image::qcow2(path("one"))).unwrap();
        assert_eq!(fs::metadata(path("two")).unwrap().len(), 4 * CLUSTER);
    }

    #[test]
    fn what_a_guest_wrote_to_a_raw_disk_is_no_header() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("base"), [0; 4096]).unwrap();
        create(&path("raw"), &Image::new(path("base"), "raw")).unwrap();
        let raw = Image::new(path("raw"), "raw");
        create(&path("overlay"), &raw).unwrap();
        assert_eq!(backing_chain(&Image::qcow2(path("overlay"))).unwrap(), std::slice::from_ref(&raw));
        assert_eq!(size(&path("overlay"), "qcow2").unwrap(), Some(fs::metadata(path("raw")).unwrap().len()));
        let error = create(&path("overlay"), &Image::qcow2(path("base"))).unwrap_err();
        assert_eq!(error.causes[1], "it is not a qcow2 image");
    }

    #[test]
    fn the_tables_grow_with_the_size() {
        let directory = tempfile::tempdir().unwrap();
        let raw = directory.path().join("raw");
        let overlay = directory.path().join("overlay");
        let clusters = |size: u64| {
            File::create(&raw).unwrap().set_len(size).unwrap();
            create(&overlay, &Image::new(&raw, "raw")).unwrap();
            fs::metadata(&overlay).unwrap().len() / CLUSTER
        };
        assert_eq!([0, 1 << 30, 4 << 40, (4 << 40) + 1].map(clusters), [4, 4, 4, 5]);
    }

    #[test]
    fn what_cannot_be_stood_on_is_named() {
        let create =
            |backing: &str| create(Path::new("/nowhere/o"), &Image::new(backing, "raw")).unwrap_err().to_string();
        let expected = "cannot create the overlay `/nowhere/o`: `/nope/base`: No such file or directory";
        assert_eq!(create("/nope/base"), expected);
        let long = format!("/{}dev/null", "dev/../".repeat(200));
        assert!(create(&long).contains("has more than 1023 bytes"), "{}", create(&long));
    }
}
