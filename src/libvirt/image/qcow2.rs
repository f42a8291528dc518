//! The backing chain of a disk image, read from the headers of its qcow2 files.
//!
//! It is read so often that starting `qemu-img` each time would be noticeable; only what plain headers and paths do not
//! tell is left to `qemu-img`.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Because, Error, Result};
use crate::hypervisor::Image;
use crate::libvirt::image::qemu_img::{self, SEE_CHAIN};

pub const MAGIC: &[u8] = b"QFI\xfb";
/// The header, its extensions and the name of the backing file are at the beginning of the first cluster, of which this
/// is the usual size.
pub const HEAD: u64 = 64 << 10;
const LENGTH_OF_VERSION_2: u32 = 72;
/// The kind of the extension with the backing file's format.
pub const BACKING_FORMAT: u32 = 0xe279_2aca;
/// The kind of the extension with the name of the data file.
const DATA_FILE: u32 = 0x4441_5441;

/// What an image says about its backing image.
#[derive(Debug, PartialEq, Eq)]
enum Backing {
    None,
    Image(Image),
    /// A file whose format it does not state.
    Untold(PathBuf),
    /// Something that we cannot tell.
    Unclear,
}

/// Lists the backing images of an image, also while a guest uses it.
pub fn backing_chain(image: &Image) -> Result<Vec<Image>> {
    let failed =
        || Error::failed(format!("cannot read the backing chain of `{}`", image.file.display())).hint(SEE_CHAIN);
    let unreadable = |image: &Image, error| failed().cause(format!("`{}`", image.file.display())).cause(error);
    let mut chain: Vec<Image> = Vec::new();
    let mut seen = Vec::new();
    loop {
        let top = chain.last().unwrap_or(image);
        let (id, backing) = look(top).map_err(|error| unreadable(top, error))?;
        if seen.contains(&id) {
            return Err(failed().cause(format!("`{}` is in its own backing chain", top.file.display())));
        }
        seen.push(id);
        match backing {
            Backing::None => return Ok(chain),
            Backing::Image(backing) => chain.push(backing),
            Backing::Untold(file) => match harmless_format(&file) {
                Ok(Some(format)) => chain.push(Image::new(file, format)),
                Ok(None) => {
                    let (image, backing) = (top.file.display(), file.display());
                    return Err(
                        failed().cause(format!("`{image}` does not tell the format of its backing file `{backing}`"))
                    );
                }
                Err(error) => return Err(unreadable(&Image::new(file, ""), error)),
            },
            Backing::Unclear => return qemu_img::backing_chain(image),
        }
    }
}

/// Returns the file that has the data of a qcow2 image.
pub fn data_file(image: &Image) -> Result<Option<PathBuf>> {
    if image.format != "qcow2" {
        return Ok(None);
    }
    let head = head(&image.file).because(|| format!("cannot read the image `{}`", image.file.display()))?.1;
    Ok(data_file_name(&head).map(|name| directory_of(&image.file).join(OsStr::from_bytes(name))))
}

/// Returns what identifies the file of an image, and its backing image.
fn look(image: &Image) -> io::Result<((u64, u64), Backing)> {
    let (id, head) = head(&image.file)?;
    let backing = match image.format.as_str() {
        // Whatever a guest wrote to its beginning, a raw image has no backing image.
        "raw" => Backing::None,
        "qcow2" => backing(&head, directory_of(&image.file)).unwrap_or(Backing::Unclear),
        _ => Backing::Unclear,
    };
    Ok((id, backing))
}

/// Returns the position of the backing file's name, and its length: zeros without one. Nothing if the header is
/// damaged.
pub fn backing_name(head: &[u8]) -> Option<(u64, u64)> {
    let is_whole = match u32_at(head, 4)? {
        1 => head.len() >= 48,
        2 => head.len() >= 72,
        3 => head.len() >= 104,
        _ => false,
    };
    (is_whole && head.starts_with(MAGIC)).then_some((u64_at(head, 8)?, u32_at(head, 16)?.into()))
}

/// Returns the name of the data file in a header.
pub fn data_file_name(head: &[u8]) -> Option<&[u8]> {
    let end = usize::try_from(u64_at(head, 8)?).ok()?;
    extension(head, if end == 0 { head.len() } else { end }, DATA_FILE)
}

/// Chooses the format of a backing file whose format is not stated, as libvirt does: the one that its content looks
/// like, if that cannot lead to any other file. Nothing if it could.
fn harmless_format(file: &Path) -> io::Result<Option<&'static str>> {
    /// Where they are, and what other images begin with: VMDK, QED, VDI, VHD, VHDX, LUKS, Parallels, Bochs.
    const OTHERS: [(usize, &[u8]); 11] = [
        (0, b"KDMV"),
        (0, b"COWD"),
        (0, b"# Disk DescriptorFile"),
        (0, b"QED\0"),
        (64, b"\x7f\x10\xda\xbe"),
        (0, b"conectix"),
        (0, b"vhdxfile"),
        (0, b"LUKS\xba\xbe"),
        (0, b"WithoutFreeSpace"),
        (0, b"WithouFreSpacExt"),
        (0, b"Bochs Virtual HD Image"),
    ];
    let head = head(file)?.1;
    if head.starts_with(MAGIC) {
        let stands_alone = backing_name(&head).is_some_and(|(at, _)| at == 0) && data_file_name(&head).is_none();
        return Ok(stands_alone.then_some("qcow2"));
    }
    let is_other = OTHERS.iter().any(|(at, magic)| head.get(*at..).is_some_and(|head| head.starts_with(magic)));
    Ok((!is_other).then_some("raw"))
}

fn head(file: &Path) -> io::Result<((u64, u64), Vec<u8>)> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    // A pipe would wait for its other end to be opened.
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(file)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() && !metadata.file_type().is_block_device() {
        return Err(io::Error::other("it is neither a file nor a block device"));
    }
    let mut head = Vec::new();
    file.take(HEAD).read_to_end(&mut head)?;
    Ok(((metadata.dev(), metadata.ino()), head))
}

fn directory_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
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
    let name = head.get(offset..offset.checked_add(length)?)?;
    let is_path = name.iter().position(|byte| *byte == b':').is_none_or(|colon| name[..colon].contains(&b'/'));
    if name.is_empty() || !is_path {
        return None;
    }
    let path = directory.join(OsStr::from_bytes(name));
    let Some(format) = extension(head, offset, BACKING_FORMAT) else { return Some(Backing::Untold(path)) };
    let format = std::str::from_utf8(format).ok()?;
    matches!(format, "qcow2" | "raw").then(|| Backing::Image(Image::new(path, format)))
}

/// Finds an extension of this kind among those of the header, which end before the backing file's name.
fn extension(head: &[u8], end: usize, wanted: u32) -> Option<&[u8]> {
    let length = if u32_at(head, 4)? == 2 { LENGTH_OF_VERSION_2 } else { u32_at(head, 100)? };
    let mut at = usize::try_from(length).ok()?;
    while at < end {
        let (kind, length) = (u32_at(head, at)?, usize::try_from(u32_at(head, at + 4)?).ok()?);
        let data = head.get(at + 8..(at + 8).checked_add(length)?)?;
        match kind {
            0 => return None,
            kind if kind == wanted => return Some(data),
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

    /// Writes the header of an image of version 3 on this backing file, whose format it states.
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
    fn a_header_names_the_backing_file_of_an_image() {
        assert_eq!(read(&image("", None)), Some(Backing::None));
        assert_eq!(read(&image("a b.qcow2", Some("qcow2"))), Some(Backing::Image(Image::qcow2("/d/a b.qcow2"))));
        assert_eq!(read(&image("../c", Some("raw"))), Some(Backing::Image(Image::new("/d/../c", "raw"))));
        assert_eq!(read(&image("/x/日本:1", Some("qcow2"))), Some(Backing::Image(Image::qcow2("/x/日本:1"))));
    }

    #[test]
    fn what_is_no_plain_file_of_a_told_format_is_left_to_qemu() {
        for backing in ["json:{\"driver\":\"qcow2\"}", "nbd://host/x", "file:/a/b"] {
            assert_eq!(read(&image(backing, Some("qcow2"))), None, "{backing}");
        }
        assert_eq!(read(&image("/a", None)), Some(Backing::Untold("/a".into())));
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
        // A guest may write anything to a raw disk, even what looks like an image on another user's file.
        fs::write(path("raw"), image("/etc/passwd", Some("raw"))).unwrap();
        let raw = Image::new(path("raw"), "raw");
        let chain = |name: &str| backing_chain(&Image::qcow2(path(name))).unwrap();
        assert_eq!(chain("sub/top"), [Image::qcow2(path("sub/../middle")), raw.clone()]);
        assert_eq!(chain("middle"), std::slice::from_ref(&raw));
        assert_eq!(backing_chain(&raw).unwrap(), []);
    }

    #[test]
    fn an_unstated_format_is_taken_only_if_no_other_file_can_be_meant() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("top"), image("below", None)).unwrap();
        let chain = || backing_chain(&Image::qcow2(path("top")));
        fs::write(path("below"), "anything").unwrap();
        assert_eq!(chain().unwrap(), [Image::new(path("below"), "raw")]);
        fs::write(path("below"), image("", None)).unwrap();
        assert_eq!(chain().unwrap(), [Image::qcow2(path("below"))]);
        for other in [image("/etc/passwd", Some("raw")), b"KDMV".to_vec(), b"QFI\xfb".to_vec()] {
            fs::write(path("below"), other).unwrap();
            let error = chain().unwrap_err();
            let (top, below) = (path("top"), path("below"));
            let cause =
                format!("`{}` does not tell the format of its backing file `{}`", top.display(), below.display());
            assert_eq!(error.causes, [cause]);
        }
    }

    #[test]
    fn what_would_make_a_reader_wait_is_not_opened() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let error = backing_chain(&Image::qcow2(&pipe)).unwrap_err();
        assert_eq!(error.causes[1], "it is neither a file nor a block device");
    }

    #[test]
    fn a_missing_image_and_a_chain_without_an_end_are_errors() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let shown = |name: &str| path(name).display().to_string();
        fs::write(path("top"), image("gone", Some("qcow2"))).unwrap();
        let error = backing_chain(&Image::qcow2(path("top"))).unwrap_err();
        assert_eq!(error.message, format!("cannot read the backing chain of `{}`", shown("top")));
        assert_eq!(error.causes, [format!("`{}`", shown("gone")), "No such file or directory".to_string()]);
        assert!(backing_chain(&Image::qcow2(path("nothing"))).is_err());
        fs::write(path("on-raw"), image("gone", Some("raw"))).unwrap();
        assert!(backing_chain(&Image::qcow2(path("on-raw"))).is_err());

        fs::write(path("a"), image("b", Some("qcow2"))).unwrap();
        fs::write(path("b"), image("./././a", Some("qcow2"))).unwrap();
        let error = backing_chain(&Image::qcow2(path("a"))).unwrap_err();
        assert_eq!(error.causes, [format!("`{}` is in its own backing chain", shown("./././a"))]);
    }
}
