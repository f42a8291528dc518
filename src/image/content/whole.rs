//! Checks that a disk image has a disk and is not truncated: QEMU silently reads a missing part as zeros.
//!
//! For the formats not listed here QEMU notices it itself, or it cannot be detected, as with raw disks.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;

use crate::image::content::bytes::{self, be32, be64, le32, le64};
use crate::image::content::format::Format;
use crate::image::content::kind::{self, Trouble};

/// Tables larger than this are damage; QEMU refuses them.
const LARGEST_TABLE: usize = 32 << 20;

/// Returns the error for an image that is empty or lacks a part. Its header has been checked before.
pub fn check(file: &File, format: Format) -> io::Result<Option<Trouble>> {
    let size = file.metadata()?.len();
    if format == Format::Qcow2 && be64(&bytes::read(file, 0, 104)?, 24) == 0 {
        return Ok(Some(Trouble::new("has a virtual size of 0", "get it again, or name another image")));
    }
    let is_whole = match format {
        Format::Qcow2 => last_of_qcow2(file)?.is_none_or(|last| last < size),
        Format::Vmdk => last_of_vmdk(file)?.is_none_or(|last| last < size),
        Format::Vdi => end_of_vdi(file)? <= size,
        Format::Vpc => kind::has_vhd_footer(file)?,
        Format::Raw | Format::Vhdx | Format::Qed => true,
    };
    Ok((!is_whole).then(|| Trouble::new("is cut off: a part of the disk is missing", "get it again")))
}

/// Returns where the last cluster begins that the tables of a qcow2 image name; the last one may be shorter.
fn last_of_qcow2(file: &File) -> io::Result<Option<u64>> {
    const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
    const COMPRESSED: u64 = 1 << 62;
    const EXTENDED: u64 = 1 << 4;
    let head = bytes::read(file, 0, 104)?;
    let (bits, entries) = (be32(&head, 20), be32(&head, 36) as usize);
    if !(9..=21).contains(&bits) || entries * 8 > LARGEST_TABLE {
        return Ok(None);
    }
    let is_extended = be32(&head, 4) >= 3 && head.len() >= 80 && be64(&head, 72) & EXTENDED != 0;
    let stride = if is_extended { 16 } else { 8 };
    let place = |entry: u64| match entry & COMPRESSED {
        0 => entry & OFFSET,
        _ => entry & ((1 << (62 - (bits - 8))) - 1),
    };
    let first = bytes::read(file, be64(&head, 40), entries * 8)?;
    if first.len() < entries * 8 {
        return Ok(Some(u64::MAX));
    }
    // Each table is read once, however often it is named.
    let seconds: BTreeSet<u64> =
        first.chunks_exact(8).map(|entry| be64(entry, 0) & OFFSET).filter(|at| *at != 0).collect();
    let mut last = seconds.last().copied();
    for at in seconds {
        let second = bytes::read(file, at, 1 << bits)?;
        let furthest = second.chunks_exact(stride).map(|entry| place(be64(entry, 0))).max();
        last = last.max(furthest.filter(|at| *at != 0));
    }
    Ok(last)
}

/// Returns where the last grain begins that the tables of a VMDK image name, unless those are at its end.
fn last_of_vmdk(file: &File) -> io::Result<Option<u64>> {
    const SECTOR: u64 = 512;
    const AT_END: u64 = u64::MAX;
    let head = bytes::read(file, 0, 512)?;
    let (capacity, grain, entries) = (le64(&head, 12), le64(&head, 20), le32(&head, 44));
    let directory = le64(&head, 56);
    let covered = grain.saturating_mul(entries.into());
    if directory == AT_END || covered == 0 || entries as usize * 4 > LARGEST_TABLE {
        return Ok(None);
    }
    let tables = capacity.div_ceil(covered);
    if tables.saturating_mul(4) > LARGEST_TABLE as u64 {
        return Ok(None);
    }
    let directory = bytes::read(file, directory.saturating_mul(SECTOR), tables as usize * 4)?;
    if (directory.len() as u64) < tables * 4 {
        return Ok(Some(u64::MAX));
    }
    let place = |entry: &[u8]| u64::from(le32(entry, 0)) * SECTOR;
    let tables: BTreeSet<u64> = directory.chunks_exact(4).map(place).filter(|at| *at != 0).collect();
    let mut last = tables.last().copied();
    for at in tables {
        // The number 1 stands for a grain of zeros.
        let table = bytes::read(file, at, entries as usize * 4)?;
        last = last.max(table.chunks_exact(4).map(place).filter(|at| *at > SECTOR).max());
    }
    Ok(last)
}

/// Returns where the blocks of a VDI image end.
fn end_of_vdi(file: &File) -> io::Result<u64> {
    let head = bytes::read(file, 0, 512)?;
    let (data, block, allocated) = (le32(&head, 0x158), le32(&head, 0x178), le32(&head, 0x184));
    Ok(u64::from(data) + u64::from(block) * u64::from(allocated))
}

#[cfg(test)]
mod tests;
