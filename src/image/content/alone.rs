//! Checks that a disk image is self-contained: a file named in a foreign header is never opened.

use std::fs::File;
use std::io;

use crate::image::content::bytes::{self, be32, be64, le32, le64};
use crate::image::content::format::Format;
use crate::image::content::kind::Trouble;

const FLATTEN: &str = "flatten it first, if you trust what it names: qemu-img convert -O qcow2 FILE flat.qcow2";
const MERGE: &str = "merge it with its parent in the program that made it, and name the result";
const JOIN: &str = "make one file of all parts: qemu-img convert -O qcow2 DESCRIPTOR.vmdk disk.qcow2";
const DECRYPT: &str = "decrypt it first with qemu-img convert";

/// Returns why an image of this format cannot be used without other files.
pub fn check(file: &File, format: Format) -> io::Result<Option<Trouble>> {
    let image = Image { file };
    match format {
        Format::Raw => Ok(None),
        Format::Qcow2 => image.qcow2(),
        Format::Vdi => image.vdi(),
        Format::Vmdk => image.vmdk(),
        Format::Vpc => image.vpc(),
        Format::Vhdx => image.vhdx(),
        Format::Qed => image.qed(),
    }
}

fn cut_off() -> Option<Trouble> {
    Some(Trouble::new("is cut off in its header", "get it again: the file is not complete"))
}

fn depends_on(file: &[u8]) -> Option<Trouble> {
    Some(Trouble::new(format!("depends on the backing file `{}`", String::from_utf8_lossy(file)), FLATTEN))
}

struct Image<'a> {
    file: &'a File,
}

impl Image<'_> {
    fn read(&self, at: u64, size: usize) -> io::Result<Vec<u8>> {
        bytes::read(self.file, at, size)
    }

    fn qcow2(&self) -> io::Result<Option<Trouble>> {
        const EXTERNAL_DATA: u64 = 1 << 2;
        const LONGEST: u32 = 1023;
        let head = self.read(0, 104)?;
        if head.len() < 72 {
            return Ok(cut_off());
        }
        let version = be32(&head, 4);
        if version != 2 && version != 3 {
            return Ok(Some(Trouble::new(format!("is a qcow2 image of version {version}"), "versions 2 and 3 exist")));
        }
        let (at, size) = (be64(&head, 8), be32(&head, 16));
        if at != 0 {
            return Ok(depends_on(&self.read(at, size.min(LONGEST) as usize)?));
        }
        if version >= 3 && head.len() >= 80 && be64(&head, 72) & EXTERNAL_DATA != 0 {
            return Ok(Some(Trouble::new("keeps its data in another file", FLATTEN)));
        }
        Ok((be32(&head, 32) != 0).then(|| Trouble::new("is encrypted", DECRYPT)))
    }

    fn qed(&self) -> io::Result<Option<Trouble>> {
        const BACKING_FILE: u64 = 1;
        const LONGEST: u32 = 1023;
        let head = self.read(0, 64)?;
        if head.len() < 64 {
            return Ok(cut_off());
        }
        if le64(&head, 16) & BACKING_FILE == 0 {
            return Ok(None);
        }
        Ok(depends_on(&self.read(le32(&head, 56).into(), le32(&head, 60).min(LONGEST) as usize)?))
    }

    fn vdi(&self) -> io::Result<Option<Trouble>> {
        const DIFFERENCING: u32 = 4;
        // The ids of the parent and of its state.
        const PARENT: std::ops::Range<usize> = 0x1a8..0x1c8;
        let head = self.read(0, 512)?;
        if head.len() < 512 {
            return Ok(cut_off());
        }
        let differs = le32(&head, 0x4c) == DIFFERENCING || head[PARENT].iter().any(|byte| *byte != 0);
        Ok(differs.then(|| Trouble::new("is a differencing VDI image, which depends on a parent", MERGE)))
    }

    fn vmdk(&self) -> io::Result<Option<Trouble>> {
        const DESCRIPTOR: usize = 20 * 512;
        let head = self.read(0, 512)?;
        if head.len() < 512 {
            return Ok(cut_off());
        }
        // Without a capacity QEMU uses the embedded descriptor as the image, and opens the files that it names.
        if le64(&head, 12) == 0 {
            return Ok(Some(Trouble::new("only names the files that hold the disk", FLATTEN)));
        }
        if le64(&head, 28) == 0 {
            return Ok(Some(Trouble::new("is one part of a VMDK image that is split into several files", JOIN)));
        }
        // QEMU looks for the descriptor behind the first sector, other programs at the offset in the header.
        for at in [512, le64(&head, 28).saturating_mul(512)] {
            let descriptor = self.read(at, DESCRIPTOR)?;
            let end = descriptor.iter().position(|byte| *byte == 0).unwrap_or(descriptor.len());
            if let Some(parent) = named(&descriptor[..end], b"parentFileNameHint") {
                return Ok(depends_on(&parent));
            }
        }
        Ok(None)
    }

    fn vpc(&self) -> io::Result<Option<Trouble>> {
        const DIFFERENCING: u32 = 4;
        let size = self.file.metadata()?.len();
        // A dynamic image has a copy of its footer in front.
        for at in [0, size.saturating_sub(512), size.saturating_sub(511)] {
            let footer = self.read(at, 511)?;
            if footer.len() >= 64 && footer.starts_with(b"conectix") && be32(&footer, 60) == DIFFERENCING {
                return Ok(Some(Trouble::new("is a differencing VHD image, which depends on a parent", MERGE)));
            }
        }
        Ok(None)
    }

    /// Finds the flags of a VHDX image: a table of regions leads to the metadata, and a table there to the item.
    fn vhdx(&self) -> io::Result<Option<Trouble>> {
        const REGIONS: u64 = 192 << 10;
        const METADATA: &[u8] = b"\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e";
        const FILE_PARAMETERS: &[u8] = b"\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b";
        const TABLE: usize = 64 << 10;
        const HAS_PARENT: u32 = 2;
        let entry = |table: &[u8], guid: &[u8]| {
            table.chunks_exact(32).find(|entry| entry.starts_with(guid)).map(<[u8]>::to_vec)
        };
        let regions = self.read(REGIONS, TABLE)?;
        let Some(region) = regions.get(16..).and_then(|table| entry(table, METADATA)) else { return Ok(cut_off()) };
        let metadata = le64(&region, 16);
        let table = self.read(metadata, TABLE)?;
        let Some(item) = table.get(32..).and_then(|table| entry(table, FILE_PARAMETERS)) else { return Ok(cut_off()) };
        let parameters = self.read(metadata.saturating_add(le32(&item, 16).into()), 8)?;
        if parameters.len() < 8 {
            return Ok(cut_off());
        }
        let differs = le32(&parameters, 4) & HAS_PARENT != 0;
        Ok(differs.then(|| Trouble::new("is a differencing VHDX image, which depends on a parent", MERGE)))
    }
}

/// Returns the value of a descriptor's line `key="..."`.
fn named(descriptor: &[u8], key: &[u8]) -> Option<Vec<u8>> {
    let at = descriptor.windows(key.len()).position(|window| window == key)?;
    let line = descriptor[at + key.len()..].split(|byte| *byte == b'\n').next()?;
    Some(line.split(|byte| *byte == b'"').nth(1).unwrap_or(line).to_vec())
}

#[cfg(test)]
mod tests;
