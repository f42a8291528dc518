//! What a disk image's first bytes say: its format, and whether it stands on its own.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::{Because, Error, Result};
use crate::shell;

/// How a disk image is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Qcow2,
    Raw,
}

impl Format {
    /// Tells a qcow2 image by its magic; everything else is raw.
    pub fn of(path: &Path) -> Result<Self> {
        Ok(if head(path)?.starts_with(QCOW2) { Self::Qcow2 } else { Self::Raw })
    }

    /// Returns the name that QEMU and libvirt have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
        }
    }
}

const QCOW2: &[u8] = b"QFI\xfb";

/// Formats that would otherwise pass for raw ones and not boot.
const REFUSED: [(&[u8], &str); 5] = [
    (b"KDMV", "a VMDK image"),
    (b"vhdxfile", "a VHDX image"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"\xfd7zXZ\0", "compressed with xz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
];

/// Fails unless `path` is a disk image that needs no other file.
pub fn check(path: &Path) -> Result<()> {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let head = head(path)?;
    if head.is_empty() {
        return Err(Error::failed(format!("image `{name}` is empty")));
    }
    if let Some((_, what)) = REFUSED.iter().find(|(magic, _)| head.starts_with(magic)) {
        let error = Error::failed(format!("image `{name}` is {what}; qcow2 and raw are supported"));
        return Err(if what.starts_with("compressed") {
            error.hint("unpack it first")
        } else {
            error.hint(format!("convert it first: qemu-img convert -O qcow2 {} disk.qcow2", shell::file(&name)))
        });
    }
    if !head.starts_with(QCOW2) {
        return Ok(());
    }
    if head.len() < 32 {
        return Err(Error::failed(format!("image `{name}` is cut off in its header")));
    }
    let version = u32_at(&head, 4);
    let (backing_offset, backing_size) = (u64_at(&head, 8), u32_at(&head, 16));
    if backing_offset != 0 {
        let backing = backing_file(path, backing_offset, backing_size)?;
        return Err(flatten(
            format!("image `{name}` depends on the backing file `{backing}`, which is outside the store"),
            &name,
        ));
    }
    const EXTERNAL_DATA: u64 = 1 << 2;
    if version >= 3 && head.len() >= 80 && u64_at(&head, 72) & EXTERNAL_DATA != 0 {
        return Err(flatten(format!("image `{name}` keeps its data in another file, outside the store"), &name));
    }
    if head.len() >= 36 && u32_at(&head, 32) != 0 {
        return Err(
            Error::failed(format!("image `{name}` is encrypted")).hint("decrypt it first with qemu-img convert")
        );
    }
    Ok(())
}

fn flatten(message: String, name: &str) -> Error {
    Error::failed(message).hint(format!("flatten it first: qemu-img convert -O qcow2 {} flat.qcow2", shell::file(name)))
}

fn head(path: &Path) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(512).read_to_end(&mut head))
        .because(|| format!("cannot read the image `{}`", path.display()))?;
    Ok(head)
}

fn backing_file(path: &Path, offset: u64, size: u32) -> Result<String> {
    // The format allows 1023 bytes; a larger number is damage.
    let mut name = vec![0; size.min(1023) as usize];
    File::open(path)
        .and_then(|file| file.read_exact_at(&mut name, offset))
        .because(|| format!("cannot read the backing file's name in `{}`", path.display()))?;
    Ok(String::from_utf8_lossy(&name).into_owned())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(backing: &str, features: u64) -> Vec<u8> {
        let mut header = vec![0; 112];
        header[..4].copy_from_slice(QCOW2);
        header[7] = 3;
        if !backing.is_empty() {
            header[8..16].copy_from_slice(&112u64.to_be_bytes());
            header[16..20].copy_from_slice(&(backing.len() as u32).to_be_bytes());
            header.extend(backing.as_bytes());
        }
        header[72..80].copy_from_slice(&features.to_be_bytes());
        header
    }

    fn checked(bytes: &[u8]) -> std::result::Result<Format, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.qcow2");
        std::fs::write(&path, bytes).unwrap();
        check(&path).map(|()| Format::of(&path).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_image_on_its_own_is_fine() {
        assert_eq!(checked(&header("", 0)), Ok(Format::Qcow2));
        assert_eq!(checked(b"\xeb\x63\x90 a boot sector"), Ok(Format::Raw));
    }

    #[test]
    fn an_image_that_needs_another_file_is_refused() {
        assert_eq!(
            checked(&header("/y", 0)).unwrap_err(),
            "image `x.qcow2` depends on the backing file `/y`, which is outside the store\n\
             hint: flatten it first: qemu-img convert -O qcow2 x.qcow2 flat.qcow2"
        );
        assert!(checked(&header("", 4)).unwrap_err().contains("keeps its data in another file"));
    }

    #[test]
    fn damaged_and_foreign_files_are_refused() {
        assert_eq!(checked(b"").unwrap_err(), "image `x.qcow2` is empty");
        assert_eq!(checked(b"QFI\xfb\0\0").unwrap_err(), "image `x.qcow2` is cut off in its header");
        assert!(checked(b"KDMV....").unwrap_err().contains("is a VMDK image"));
        assert!(checked(b"\x1f\x8b....").unwrap_err().ends_with("hint: unpack it first"));
        let mut lying = header("/y", 0);
        lying[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(checked(&lying).unwrap_err().starts_with("cannot read the backing file's name"));
    }
}
