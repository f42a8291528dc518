//! What an image depends on, according to its own content.
//!
//! The format of a stray file is unknown, and mistaking a file for an image only keeps one that could have been
//! deleted. So this is for deciding what must stay, never for opening a disk.

use std::ffi::OsStr;
use std::fs::{File, FileType, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Because, Error, Result};
use crate::libvirt::image::qcow2;

const VMDK: &[u8] = b"KDMV";
const QED: &[u8] = b"QED\0";
const VMDK_TEXT: &[u8] = b"# Disk DescriptorFile";
const SECTOR: u64 = 512;
/// The most that is read of a name or a descriptor; no working one is longer.
const LONGEST: u64 = 1 << 20;
/// The longest name of a backing file that QEMU takes.
const LONGEST_NAME: u64 = 1023;
const QED_HAS_BACKING_FILE: u64 = 1;

/// Lists the files that an image directly depends on: backing file, data file and extents. A relative name counts from
/// the directory in which the image was named and from the one in which it is. A file that is not an image depends on
/// nothing.
pub fn depends_on(file: &Path) -> Result<Vec<PathBuf>> {
    let cannot = || format!("cannot read the image `{}`", file.display());
    let names = match open(file).because(cannot)? {
        Some(opened) => names_in(&opened).because(cannot)?,
        None => return Ok(Vec::new()),
    };
    let names = names.ok_or_else(|| {
        Error::failed(cannot()).cause("its header is damaged").hint("`qemu-img check` says what is wrong with it")
    })?;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let real = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf());
    let mut files: Vec<PathBuf> = Vec::new();
    for path in names.iter().flat_map(|name| paths_in(name)) {
        for image in [file, &real] {
            let path = image.parent().unwrap_or(Path::new("/")).join(&path);
            if path != image && !files.contains(&path) {
                files.push(path);
            }
        }
    }
    Ok(files)
}

/// Opens what can hold an image; never a pipe or a terminal, which might wait.
fn open(file: &Path) -> io::Result<Option<File>> {
    let can_be = |kind: FileType| kind.is_file() || kind.is_block_device();
    match std::fs::metadata(file) {
        Ok(metadata) if !can_be(metadata.file_type()) => return Ok(None),
        // A file that is gone depends on nothing.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        found => found?,
    };
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let opened = match OpenOptions::new().read(true).custom_flags(nonblocking).open(file) {
        // A drive without a medium.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOMEDIUM.raw_os_error()) => return Ok(None),
        opened => opened?,
    };
    Ok(can_be(opened.metadata()?.file_type()).then_some(opened))
}

/// Lists the names in the header of an image; nothing when it is damaged.
fn names_in(file: &File) -> io::Result<Option<Vec<Vec<u8>>>> {
    let head = read(file, 0, SECTOR)?;
    if head.starts_with(qcow2::MAGIC) {
        names_in_qcow2(file)
    } else if head.starts_with(QED) {
        names_in_qed(file, &head)
    } else if head.starts_with(VMDK) {
        names_in_vmdk(file, &head)
    } else if head.starts_with(VMDK_TEXT) {
        Ok(Some(names_in_descriptor(&read(file, 0, LONGEST)?)))
    } else {
        Ok(Some(Vec::new()))
    }
}

fn names_in_qcow2(file: &File) -> io::Result<Option<Vec<Vec<u8>>>> {
    let head = read(file, 0, qcow2::HEAD)?;
    let Some((offset, length)) = qcow2::backing_name(&head) else { return Ok(None) };
    let mut names = Vec::new();
    if offset != 0 {
        let name = name_at(file, offset, length)?;
        if name.is_none() {
            return Ok(None);
        }
        names.extend(name);
    }
    names.extend(qcow2::data_file_name(&head).map(<[u8]>::to_vec));
    Ok(Some(names))
}

fn names_in_qed(file: &File, head: &[u8]) -> io::Result<Option<Vec<Vec<u8>>>> {
    let features = number(head, 16, 8);
    let (Some(features), Some(offset), Some(length)) = (features, number(head, 56, 4), number(head, 60, 4)) else {
        return Ok(None);
    };
    if features & QED_HAS_BACKING_FILE == 0 {
        return Ok(Some(Vec::new()));
    }
    Ok(name_at(file, offset, length)?.map(|name| vec![name]))
}

fn names_in_vmdk(file: &File, head: &[u8]) -> io::Result<Option<Vec<Vec<u8>>>> {
    let (Some(at), Some(sectors)) = (number(head, 28, 8), number(head, 36, 8)) else { return Ok(None) };
    if at == 0 || sectors == 0 {
        // An extent, which another file describes.
        return Ok(Some(Vec::new()));
    }
    let Some(at) = at.checked_mul(SECTOR) else { return Ok(None) };
    let descriptor = read(file, at, sectors.saturating_mul(SECTOR).min(LONGEST))?;
    Ok(descriptor.starts_with(VMDK_TEXT).then(|| names_in_descriptor(&descriptor)))
}

/// Lists the parent and the extents in VMware's description of a disk.
fn names_in_descriptor(text: &[u8]) -> Vec<Vec<u8>> {
    let is_extent = |line: &[u8]| [&b"RW "[..], b"RDONLY ", b"NOACCESS "].iter().any(|word| line.starts_with(word));
    let quoted = |line: &[u8]| {
        let mut parts = line.split(|byte| *byte == b'"');
        parts.nth(1).map(<[u8]>::to_vec)
    };
    let lines = text.split(|byte| matches!(byte, b'\n' | b'\r' | 0)).map(<[u8]>::trim_ascii_start);
    lines.filter(|line| line.starts_with(b"parentFileNameHint") || is_extent(line)).filter_map(quoted).collect()
}

fn name_at(file: &File, offset: u64, length: u64) -> io::Result<Option<Vec<u8>>> {
    if length == 0 || length > LONGEST_NAME {
        return Ok(None);
    }
    let name = read(file, offset, length)?;
    Ok((u64::try_from(name.len()).is_ok_and(|read| read == length)).then_some(name))
}

/// Reads a little-endian number of up to eight bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + length)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// Reads as much as there is.
fn read(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    let mut filled = 0;
    while filled < bytes.len() {
        let at = offset.saturating_add(filled as u64);
        match file.read_at(&mut bytes[filled..], at) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Lists the paths that a name may mean to QEMU: itself, what follows a protocol, and every text in a JSON object.
fn paths_in(name: &[u8]) -> Vec<PathBuf> {
    let plain = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    if let Some(json) = name.strip_prefix(b"json:") {
        let mut texts = Vec::new();
        if let Ok(value) = serde_json::from_slice(json) {
            collect_texts(&value, &mut texts);
        }
        return texts.iter().flat_map(|text| paths_in(text.as_bytes())).collect();
    }
    let mut paths = vec![plain(name)];
    let colons = name.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    paths.extend(colons.filter(|at| at + 1 < name.len()).map(|at| plain(&name[at + 1..])));
    paths
}

fn collect_texts(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| collect_texts(value, texts)),
        Value::Object(values) => values.values().for_each(|value| collect_texts(value, texts)),
        _ => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Writes the header of a qcow2 image on a backing file, with the extension for a data file.
    fn qcow2(backing: &[u8], data: &[u8]) -> Vec<u8> {
        let mut head = vec![0; 104];
        head[..4].copy_from_slice(qcow2::MAGIC);
        head[7] = 3;
        head[103] = 104;
        if !data.is_empty() {
            head.extend(0x4441_5441_u32.to_be_bytes());
            head.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
            head.extend(data);
            head.resize(head.len().next_multiple_of(8), 0);
        }
        head.extend([0; 8]);
        if !backing.is_empty() {
            let offset = head.len() as u64;
            head[8..16].copy_from_slice(&offset.to_be_bytes());
            head[16..20].copy_from_slice(&u32::try_from(backing.len()).unwrap().to_be_bytes());
            head.extend(backing);
        }
        head
    }

    fn qed(backing: &str) -> Vec<u8> {
        let mut head = vec![0; 64];
        head[..4].copy_from_slice(QED);
        head[16] = 1;
        head[56] = 64;
        head[60] = u8::try_from(backing.len()).unwrap();
        head.extend(backing.as_bytes());
        head
    }

    fn vmdk(descriptor: &str) -> Vec<u8> {
        let mut head = vec![0; 512];
        head[..4].copy_from_slice(VMDK);
        head[28] = 1;
        head[36] = 20;
        head.extend(descriptor.as_bytes());
        head
    }

    struct Images(tempfile::TempDir);

    impl Images {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            fs::canonicalize(self.0.path()).unwrap().join(name)
        }

        fn write(&self, name: &str, content: &[u8]) -> PathBuf {
            fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
            fs::write(self.path(name), content).unwrap();
            self.path(name)
        }

        fn below(&self, content: &[u8]) -> Vec<PathBuf> {
            depends_on(&self.write("image", content)).unwrap()
        }
    }

    #[test]
    fn every_format_with_a_backing_file_is_read() {
        let images = Images::new();
        let below = [images.path("below")];
        assert_eq!(images.below(&qcow2(b"below", b"")), below);
        let mut old = qcow2(b"below", b"");
        old[7] = 2;
        assert_eq!(images.below(&old), below, "compat 0.10");
        old[7] = 1;
        assert_eq!(images.below(&old), below, "qcow");
        assert_eq!(images.below(&qed("below")), below);
        let text = "# Disk DescriptorFile\nversion=1\nparentFileNameHint=\"below\"\n";
        assert_eq!(images.below(&vmdk(text)), below);
        assert_eq!(images.below(text.as_bytes()), below);
        let extents = "# Disk DescriptorFile\nRW 1 SPARSE \"a\"\nRDONLY 8 FLAT \"/b c\" 0\nddb.x = \"no\"\n";
        assert_eq!(images.below(extents.as_bytes()), [images.path("a"), "/b c".into()]);
        assert_eq!(images.below(&qcow2(b"", b"data.raw")), [images.path("data.raw")]);
        assert_eq!(images.below(&qcow2(b"/a", b"/b")), ["/a", "/b"].map(PathBuf::from));
    }

    #[test]
    fn every_way_to_name_a_file_is_understood() {
        let images = Images::new();
        let named = |name: &str, expected: &str| {
            let below = images.below(&qcow2(name.as_bytes(), b""));
            assert!(below.contains(&images.path(expected)), "{name}: {below:?}");
        };
        named("../other/x", "../other/x");
        named("file:x", "x");
        named("a:b", "a:b");
        named("json:{\"driver\":\"qcow2\",\"file\":{\"driver\":\"file\",\"filename\":\"/x\"}}", "/x");
        named("json:{\"file.filename\":\"x\"}", "x");
        named("json:{\"backing\":{\"file\":{\"filename\":\"json:{\\\"filename\\\":\\\"/y\\\"}\"}}}", "/y");
        assert_eq!(images.below(&qcow2(b"\xff\xfe", b"")), [images.path("").join(OsStr::from_bytes(b"\xff\xfe"))]);
    }

    #[test]
    fn a_relative_name_counts_from_where_the_image_is_named_and_from_where_it_is() {
        let images = Images::new();
        images.write("real/image", &qcow2(b"below", b""));
        fs::create_dir(images.path("other")).unwrap();
        symlink("../real/image", images.path("other/link")).unwrap();
        assert_eq!(
            depends_on(&images.path("other/link")).unwrap(),
            [images.path("other/below"), images.path("real/below")]
        );
    }

    #[test]
    fn what_is_no_image_depends_on_nothing_and_is_not_waited_for() {
        let images = Images::new();
        for content in [&b""[..], b"QFI", b"text", &[0; 1024], &qcow2(b"", b""), &vmdk("")[..40]] {
            let is_damaged = content.starts_with(VMDK);
            assert_eq!(depends_on(&images.write("image", content)).is_err(), is_damaged, "{content:?}");
        }
        rustix::fs::mknodat(rustix::fs::CWD, images.path("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(depends_on(&images.path("fifo")).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(depends_on(&images.path("")).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(depends_on(&images.path("gone")).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_damaged_header_is_an_error() {
        let images = Images::new();
        let whole = qcow2(b"below", b"");
        for length in 4..whole.len() {
            let image = images.write("image", &whole[..length]);
            let error = depends_on(&image).unwrap_err();
            assert_eq!(error.message, format!("cannot read the image `{}`", image.display()));
            assert_eq!(error.causes, ["its header is damaged"]);
        }
        let mut far = whole.clone();
        far[8] = 0xff;
        assert!(depends_on(&images.write("image", &far)).is_err());
        let mut long = whole;
        long[16] = 0xff;
        assert!(depends_on(&images.write("image", &long)).is_err());
        assert!(depends_on(&images.write("image", &qed("below")[..66])).is_err());
    }
}
