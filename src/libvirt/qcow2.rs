//! The backing chain of a disk image, read from the headers of its qcow2 files.
//!
//! It is asked for so often that starting `qemu-img` each time would be felt; what is not told by plain headers and
//! paths is left to it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::libvirt::qemu_img;

pub const MAGIC: &[u8] = b"QFI\xfb";
/// The header, its extensions and the name of the backing file are at the beginning of the first cluster, of which this
/// is the usual size.
const HEAD: u64 = 64 << 10;
const LENGTH_OF_VERSION_2: u32 = 72;
/// The kind of the extension with the backing file's format.
pub const BACKING_FORMAT: u32 = 0xe279_2aca;

/// What an image says it stands on.
#[derive(Debug, PartialEq, Eq)]
enum Backing {
    None,
    Qcow2(PathBuf),
    Raw(PathBuf),
    /// Something that is not for us to tell.
    Unclear,
}

/// Lists the files that an image stands on, also while a guest uses it.
pub fn backing_chain(image: &Path) -> Result<Vec<PathBuf>> {
    let failed = || Error::failed(format!("cannot read the backing chain of `{}`", image.display()));
    let unreadable = |image: &Path, error| failed().cause(format!("`{}`", image.display())).cause(error);
    let mut chain: Vec<PathBuf> = Vec::new();
    let mut seen = Vec::new();
    loop {
        let top = chain.last().map_or(image, PathBuf::as_path);
        let (id, backing) = look(top).map_err(|error| unreadable(top, error))?;
        if seen.contains(&id) {
            return Err(failed().cause(format!("`{}` stands on itself", top.display())));
        }
        seen.push(id);
        match backing {
            Backing::None => return Ok(chain),
            Backing::Qcow2(backing) => chain.push(backing),
            Backing::Raw(backing) => {
                // Whatever a guest wrote to its beginning, a raw image stands on nothing.
                File::open(&backing).map_err(|error| unreadable(&backing, error))?;
                chain.push(backing);
                return Ok(chain);
            }
            Backing::Unclear => return qemu_img::backing_chain(image),
        }
    }
}

/// Returns what makes the file of an image unique, and what it stands on.
fn look(image: &Path) -> io::Result<((u64, u64), Backing)> {
    let file = File::open(image)?;
    let metadata = file.metadata()?;
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head)?;
    let directory = image.parent().unwrap_or(Path::new(""));
    Ok(((metadata.dev(), metadata.ino()), backing(&head, directory).unwrap_or(Backing::Unclear)))
}

/// Reads the beginning of an image in this directory; nothing when it is damaged or holds more than expected.
fn backing(head: &[u8], directory: &Path) -> Option<Backing> {
    if !head.starts_with(MAGIC) {
        return None;
    }
    let offset = usize::try_from(u64_at(head, 8)?).ok()?;
    if offset == 0 {
        return Some(Backing::None);
    }
    let length = usize::try_from(u32_at(head, 16)?).ok()?;
    let name = std::str::from_utf8(head.get(offset..offset.checked_add(length)?)?).ok()?;
    let is_path = name.find(':').is_none_or(|colon| name[..colon].contains('/'));
    if name.is_empty() || !is_path {
        return None;
    }
    let path = directory.join(name);
    match backing_format(head, offset)? {
        b"qcow2" => Some(Backing::Qcow2(path)),
        b"raw" => Some(Backing::Raw(path)),
        _ => None,
    }
}

/// Finds the format of the backing file among the extensions of the header, which end before the file's name.
fn backing_format(head: &[u8], end: usize) -> Option<&[u8]> {
    let length = if u32_at(head, 4)? == 2 { LENGTH_OF_VERSION_2 } else { u32_at(head, 100)? };
    let mut at = usize::try_from(length).ok()?;
    while at < end {
        let (kind, length) = (u32_at(head, at)?, usize::try_from(u32_at(head, at + 4)?).ok()?);
        let data = head.get(at + 8..(at + 8).checked_add(length)?)?;
        match kind {
            0 => return None,
            BACKING_FORMAT => return Some(data),
            _ => at += 8 + length.next_multiple_of(8),
        }
    }
    None
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_be_bytes)
}

pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    /// Writes the header of an image of version 3 on this backing file, of which it tells the format.
    fn image(backing: &str, format: Option<&str>) -> Vec<u8> {
        let mut head = vec![0; 104];
        head[..4].copy_from_slice(MAGIC);
        head[7] = 3;
        head[100..104].copy_from_slice(&104u32.to_be_bytes());
        let mut extension = |kind: u32, data: &[u8]| {
            head.extend(kind.to_be_bytes());
            head.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
            head.extend(data);
            head.resize(head.len().next_multiple_of(8), 0);
        };
        extension(0x6803_f857, &[7; 50]);
        format.into_iter().for_each(|format| extension(BACKING_FORMAT, format.as_bytes()));
        extension(0, b"");
        if !backing.is_empty() {
            let offset = head.len() as u64;
            head[8..16].copy_from_slice(&offset.to_be_bytes());
            head[16..20].copy_from_slice(&u32::try_from(backing.len()).unwrap().to_be_bytes());
            head.extend(backing.as_bytes());
        }
        head
    }

    fn read(head: &[u8]) -> Option<Backing> {
        backing(head, Path::new("/d"))
    }

    #[test]
    fn a_header_names_what_an_image_stands_on() {
        assert_eq!(read(&image("", None)), Some(Backing::None));
        assert_eq!(read(&image("a b.qcow2", Some("qcow2"))), Some(Backing::Qcow2("/d/a b.qcow2".into())));
        assert_eq!(read(&image("../c", Some("raw"))), Some(Backing::Raw("/d/../c".into())));
        assert_eq!(read(&image("/x/日本:1", Some("qcow2"))), Some(Backing::Qcow2("/x/日本:1".into())));
    }

    #[test]
    fn what_is_no_plain_file_of_a_told_format_is_left_to_qemu() {
        for backing in ["json:{\"driver\":\"qcow2\"}", "nbd://host/x", "file:/a/b"] {
            assert_eq!(read(&image(backing, Some("qcow2"))), None, "{backing}");
        }
        assert_eq!(read(&image("/a", None)), None);
        assert_eq!(read(&image("/a", Some("vmdk"))), None);
        assert_eq!(read(b"KDMV"), None);
    }

    #[test]
    fn a_damaged_header_is_never_read_past_its_end() {
        let whole = image("/a", Some("qcow2"));
        for length in 0..whole.len() {
            assert_eq!(read(&whole[..length]), None, "{length}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] = 0xff;
            read(&damaged);
        }
    }

    #[test]
    fn a_chain_is_followed_to_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("sub")).unwrap();
        fs::write(path("sub/top"), image("../middle", Some("qcow2"))).unwrap();
        fs::write(path("middle"), image(path("raw").to_str().unwrap(), Some("raw"))).unwrap();
        // A guest may write anything to a raw disk, also what looks like an image on somebody else's file.
        fs::write(path("raw"), image("/etc/passwd", Some("raw"))).unwrap();
        assert_eq!(backing_chain(&path("sub/top")).unwrap(), [path("sub/../middle"), path("raw")]);
        assert_eq!(backing_chain(&path("middle")).unwrap(), [path("raw")]);
    }

    #[test]
    fn a_missing_image_and_a_chain_without_an_end_are_errors() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let shown = |name: &str| path(name).display().to_string();
        fs::write(path("top"), image("gone", Some("qcow2"))).unwrap();
        let error = backing_chain(&path("top")).unwrap_err();
        assert_eq!(error.message, format!("cannot read the backing chain of `{}`", shown("top")));
        assert_eq!(error.causes, [format!("`{}`", shown("gone")), "No such file or directory".to_string()]);
        assert!(backing_chain(&path("nothing")).is_err());
        fs::write(path("on-raw"), image("gone", Some("raw"))).unwrap();
        assert!(backing_chain(&path("on-raw")).is_err());

        fs::write(path("a"), image("b", Some("qcow2"))).unwrap();
        fs::write(path("b"), image("./././a", Some("qcow2"))).unwrap();
        let error = backing_chain(&path("a")).unwrap_err();
        assert_eq!(error.causes, [format!("`{}` stands on itself", shown("./././a"))]);
    }
}
