//! Detects from its content what a file is: a disk, something packed, an archive, or none of these.

use std::fs::File;
use std::io::{self, Read};

use crate::image::content::bytes;
use crate::image::content::format::Format;

/// How much of a file's beginning is examined: it includes all superblocks but those of exotic file systems.
pub const HEAD: usize = 72 << 10;
const SECTOR: usize = 512;

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Disk(Format),
    /// Its content is unknown, but may still be a raw disk.
    Unknown,
    Packed(Compression),
    Tar,
    /// It cannot be used as a disk.
    Other(Trouble),
}

/// Why a file cannot be used, and what to do about it. `FILE` stands for the file's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub cause: String,
    pub hint: String,
}

impl Trouble {
    pub fn new(cause: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { cause: cause.into(), hint: hint.into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    Xz,
    Zstd,
    Bzip2,
}

const AS_RAW: &str = "if its bytes are the disk itself, say format = \"raw\"";
const LOOK: &str = "look at the file; if its bytes are the disk itself, say format = \"raw\"";
const INSIDE: &str = "unpack it, and name the disk image inside";
const CONVERT: &str = "convert it first: qemu-img convert -O qcow2 FILE disk.qcow2";
const PACKED: &str = "unpack it first, or pack it with gzip, xz, zstd or bzip2";
const ISO: &str = "install a system from it and use that disk, or say format = \"raw\" to use its bytes as the disk";
const UNLOCK: &str =
    "decrypt it first with qemu-img convert, or say format = \"raw\" if the guest unlocks the disk itself";

/// Files that are not disks, by a few bytes at a fixed offset.
const OTHERS: [(usize, &[u8], &str, &str); 36] = [
    (0, b"PK\x03\x04", "is a ZIP archive", INSIDE),
    (0, b"PK\x05\x06", "is an empty ZIP archive", INSIDE),
    (0, b"7z\xbc\xaf\x27\x1c", "is a 7z archive", INSIDE),
    (0, b"Rar!\x1a\x07", "is a RAR archive", INSIDE),
    (0, b"!<arch>\n", "is an ar archive or a Debian package", INSIDE),
    (0, b"\xed\xab\xee\xdb", "is an RPM package", INSIDE),
    (0, b"070701", "is a cpio archive", INSIDE),
    (0, b"070702", "is a cpio archive", INSIDE),
    (0, b"070707", "is a cpio archive", INSIDE),
    (0, b"MSCF\0\0\0\0", "is a cabinet archive", INSIDE),
    (0, b"MSWIM\0\0\0", "is a Windows image (WIM)", "apply it to a disk, and name that disk"),
    (0, b"VMA\0", "is a Proxmox backup", "extract it with `vma extract`, and name the disk inside"),
    (0, b"LZIP", "is packed with lzip", PACKED),
    (0, b"\x04\x22\x4d\x18", "is packed with lz4", PACKED),
    (0, b"\x89LZO\0", "is packed with lzop", PACKED),
    (0, b"\x1f\x9d", "is packed with compress", PACKED),
    (0, b"\x5d\0\0\x80\0", "is packed with lzma", PACKED),
    (0, b"\x5d\0\0\0\x01", "is packed with lzma", PACKED),
    (0, b"\x5d\0\0\0\x04", "is packed with lzma", PACKED),
    (0, b"LUKS\xba\xbe", "is encrypted with LUKS", UNLOCK),
    (0, b"hsqs", "is a squashfs file system", AS_RAW),
    (0, b"\x7fELF", "is a program or a kernel (ELF)", LOOK),
    (0, b"%PDF-", "is a PDF document", LOOK),
    (0, b"COWD", "is a VMDK image of ESX, in its old sparse format", CONVERT),
    (0, b"WithoutFreeSpace", "is a Parallels image", CONVERT),
    (0, b"WithouFreSpacExt", "is a Parallels image", CONVERT),
    (0, b"Bochs Virtual HD Image", "is a Bochs image", CONVERT),
    (0, b"OOOM", "is a COW file of User-mode Linux", CONVERT),
    (0, b"#!/bin/sh\n#V2.0 Format\n", "is a cloop image", CONVERT),
    (0, b"EVF\x09\x0d\x0a\xff\0", "is a forensic image (EWF)", "export it as a raw disk first"),
    (0, b"LibvirtQemud", "is the saved memory of a guest", LOOK),
    (0, b"QEVM", "is the saved memory of a guest", LOOK),
    (0x202, b"HdrS", "is a Linux kernel", LOOK),
    (0x8001, b"CD001", "is an image of a CD or DVD (ISO 9660)", ISO),
    (0x8001, b"BEA01", "is an image of a DVD (UDF)", ISO),
    (0, b"QFI\xfb\0\0\0\x01", "is a qcow image of version 1", CONVERT),
];

/// The signatures of raw disks: partition tables and file systems.
const DISKS: [(usize, &[u8]); 13] = [
    (510, b"\x55\xaa"),
    (512, b"EFI PART"),
    (4096, b"EFI PART"),
    (512, b"LABELONE"),
    (0x438, b"\x53\xef"),
    (0, b"XFSB"),
    (0x10040, b"_BHRfS_M"),
    (4086, b"SWAPSPACE2"),
    (65526, b"SWAPSPACE2"),
    (1024, b"\x10\x20\xf5\xf2"),
    (1024, b"\xe2\xe1\xf5\xe0"),
    (0x8000, b"JFS1"),
    (0x10034, b"ReIsEr"),
];

/// Detects what a file is.
pub fn tell(file: &File) -> io::Result<Kind> {
    if has_vhd_footer(file)? {
        return Ok(Kind::Disk(Format::Vpc));
    }
    let size = file.metadata()?.len();
    let last = size.checked_sub(SECTOR as u64).map(|at| bytes::read(file, at, SECTOR)).transpose()?;
    if last.is_some_and(|last| last.starts_with(b"koly")) {
        return Ok(Kind::Other(Trouble::new("is an Apple disk image (DMG)", CONVERT)));
    }
    Ok(tell_head(&bytes::read(file, 0, HEAD)?, size))
}

/// Whether a file ends in the footer of a VHD. Older versions of Virtual PC wrote one byte less.
pub fn has_vhd_footer(file: &File) -> io::Result<bool> {
    let size = file.metadata()?.len();
    for length in [SECTOR, SECTOR - 1] {
        if let Some(at) = size.checked_sub(length as u64)
            && is_vhd_footer(&bytes::read(file, at, length)?)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Detects what a file of this size that begins with `head` is, except for kinds that only its end shows.
pub fn tell_head(head: &[u8], size: u64) -> Kind {
    let has = |at: usize, magic: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(magic));
    let other = |cause: &str, hint: &str| Kind::Other(Trouble::new(cause, hint));
    if head.is_empty() {
        return other("is empty", "get it again: the download may have failed");
    }
    if let Some((.., what, hint)) = OTHERS.iter().find(|(at, magic, ..)| has(*at, magic)) {
        return other(what, hint);
    }
    if let Some(compression) = compression(head) {
        return Kind::Packed(compression);
    }
    let formats = [
        (0, &b"QFI\xfb"[..], Format::Qcow2),
        (0, b"KDMV", Format::Vmdk),
        (0, b"vhdxfile", Format::Vhdx),
        (0, b"QED\0", Format::Qed),
        (0x40, b"\x7f\x10\xda\xbe", Format::Vdi),
        (0, b"conectix", Format::Vpc),
    ];
    if let Some((.., format)) = formats.iter().find(|(at, magic, _)| has(*at, magic)) {
        return Kind::Disk(*format);
    }
    if is_tar(head) {
        return Kind::Tar;
    }
    if let Some(kind) = text(head) {
        return kind;
    }
    if is_program(head) {
        return other("is a program for Windows or EFI", LOOK);
    }
    if size < SECTOR as u64 {
        return other("is shorter than one sector of a disk", AS_RAW);
    }
    if !size.is_multiple_of(SECTOR as u64) {
        return other("is not a known disk image, and its size is not a whole number of sectors", AS_RAW);
    }
    if DISKS.iter().any(|(at, magic)| has(*at, magic)) || head.iter().all(|byte| *byte == 0) {
        return Kind::Disk(Format::Raw);
    }
    Kind::Unknown
}

fn compression(head: &[u8]) -> Option<Compression> {
    // A file may begin with frames that hold no data, as those of pzstd do.
    let is_skippable = head.len() >= 4 && head[0] & 0xf0 == 0x50 && head[1..4] == *b"\x2a\x4d\x18";
    let is_bzip2 = |head: &[u8]| {
        let block = head.get(4..10).unwrap_or_default();
        head.starts_with(b"BZh") && (block == b"\x31\x41\x59\x26\x53\x59" || block == b"\x17\x72\x45\x38\x50\x90")
    };
    match head {
        [0x1f, 0x8b, 8, ..] => Some(Compression::Gzip),
        _ if head.starts_with(b"\xfd7zXZ\0") => Some(Compression::Xz),
        _ if head.starts_with(b"\x28\xb5\x2f\xfd") || is_skippable => Some(Compression::Zstd),
        _ if is_bzip2(head) => Some(Compression::Bzip2),
        _ => None,
    }
}

/// Recognises a VHD's footer by its cookie and its checksum, since a raw disk may end in the cookie alone.
fn is_vhd_footer(footer: &[u8]) -> bool {
    const CHECKSUM: std::ops::Range<usize> = 64..68;
    if !footer.starts_with(b"conectix") {
        return false;
    }
    let sum = footer.iter().enumerate().filter(|(at, _)| !CHECKSUM.contains(at)).map(|(_, byte)| u32::from(*byte));
    footer[CHECKSUM] == (!sum.sum::<u32>()).to_be_bytes()
}

/// Recognises a tar archive by the checksum of its first header, which old archives have as well.
fn is_tar(head: &[u8]) -> bool {
    const CHECKSUM: std::ops::Range<usize> = 148..156;
    let Some(header) = head.get(..SECTOR).filter(|header| header[0] != 0) else { return false };
    let said = String::from_utf8_lossy(&header[CHECKSUM]);
    let said = u32::from_str_radix(said.trim_matches(['\0', ' ']), 8);
    let byte = |(at, byte): (usize, &u8)| u32::from(if CHECKSUM.contains(&at) { b' ' } else { *byte });
    said.is_ok_and(|said| said == header.iter().enumerate().map(byte).sum::<u32>())
}

/// Recognises text, and what it describes.
fn text(head: &[u8]) -> Option<Kind> {
    const ENOUGH: usize = 4096;
    // Programs that write whole sectors pad the last one with zeros, but a disk that begins with text may continue so
    // too.
    let end = head.iter().position(|byte| *byte == 0).unwrap_or(head.len());
    let is_padded = end < head.len();
    let head = &head[..end.min(ENOUGH)];
    // The last character may be cut off.
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    if valid.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\x0c' | '\x1b')) {
        return None;
    }
    let begins = valid.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    let (what, hint) = if begins.contains("createtype=") {
        (
            "is a VMDK descriptor, which only names the files that hold the disk",
            "convert it where those files are: qemu-img convert -O qcow2 FILE disk.qcow2",
        )
    } else if is_padded {
        return None;
    } else if begins.starts_with("<!doctype html") || begins.starts_with("<html") {
        ("is a web page (HTML)", "the server sent a page in place of the image: check the address")
    } else if begins.starts_with('<') && begins.contains("<envelope") {
        ("is an OVF description, which only names the files that hold the disks", "name the disk beside it, or the OVA")
    } else if begins.starts_with("<?xml") {
        ("is an XML document", LOOK)
    } else if begins.starts_with("version https://git-lfs") {
        ("is a Git LFS pointer", "fetch the file itself: git lfs pull")
    } else {
        ("is a text file", LOOK)
    };
    Some(Kind::Other(Trouble::new(what, hint)))
}

/// Recognises a PE program by both of its signatures.
fn is_program(head: &[u8]) -> bool {
    let Some(at) = head.get(0x3c..0x40) else { return false };
    let at = at.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    head.starts_with(b"MZ") && head.get(at..).is_some_and(|rest| rest.starts_with(b"PE\0\0"))
}

/// Reads the beginning of a stream, as much of it as is examined.
pub fn read_head(reader: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    reader.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

#[cfg(test)]
mod tests;
