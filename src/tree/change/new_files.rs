//! The files of a snapshot: those made beside the disks, and those that the user chose.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::name::{SnapshotName, cut, slug};
use crate::paths;

/// Names a file as libvirt does: the disk's name with the snapshot's in place of its ending. A number makes it unique.
///
/// The snapshot's part is one ending, so that the next snapshot's replaces it, and names do not grow.
pub fn beside(disk: &Path, name: &SnapshotName, ending: &str, taken: &BTreeSet<PathBuf>) -> PathBuf {
    let stem = disk.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let longest = longest_name_in(directory_of(disk));
    let of_snapshot = slug(name.as_str()).replace('.', "_");
    let numbers = std::iter::once(String::new()).chain((2..).map(|n| format!("-{n}")));
    numbers
        .map(|number| format!(".{of_snapshot}{number}{ending}"))
        .map(|tail| disk.with_file_name(format!("{}{tail}", cut(&stem, longest.saturating_sub(tail.len())))))
        .find(|file| std::fs::symlink_metadata(file).is_err() && !taken.contains(file))
        .unwrap_or_default()
}

/// Returns how many bytes a file name can have there.
fn longest_name_in(directory: &Path) -> usize {
    const USUAL: usize = 255;
    let told = rustix::fs::statvfs(directory).ok().and_then(|stat| usize::try_from(stat.f_namemax).ok());
    told.map_or(USUAL, |told| told.min(USUAL))
}

/// Checks a file that the user chose: an overlay, or the one for the RAM.
pub fn wanted_file(file: &Path, must_exist: bool) -> Result<PathBuf> {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    paths::for_libvirt(&file)?;
    // A dangling link would be followed.
    match (std::fs::symlink_metadata(&file).is_ok(), must_exist) {
        (true, false) => {
            Err(Error::failed(format!("`{}` exists already", file.display())).hint("choose a file that does not"))
        }
        (false, true) => Err(Error::failed(format!("`{}` does not exist", file.display()))
            .cause("an overlay that is to be reused has to be there")
            .hint("make it with `qemu-img create -b`, or do not ask for it to be reused")),
        _ => Ok(file),
    }
}

pub fn directory_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> SnapshotName {
        SnapshotName::new(name).unwrap()
    }

    #[test]
    fn an_overlay_is_named_as_libvirt_names_it() {
        let none = BTreeSet::new();
        let beside = |disk: &str, snapshot: &str, ending: &str| beside(Path::new(disk), &name(snapshot), ending, &none);
        assert_eq!(beside("/nosuch/web.qcow2", "sn01", ""), Path::new("/nosuch/web.sn01"));
        assert_eq!(beside("/nosuch/web", "sn01", ".ram"), Path::new("/nosuch/web.sn01.ram"));
        assert_eq!(beside("/nosuch/a.b.img", "x y:z", ""), Path::new("/nosuch/a.b.x_y_z"));
    }

    #[test]
    fn the_names_of_overlays_neither_grow_nor_get_too_long() {
        let none = BTreeSet::new();
        let mut disk = Path::new("/nosuch/web.qcow2").to_path_buf();
        for snapshot in ["v1.0", "v1.1", "2026.11.28", "..."] {
            disk = beside(&disk, &SnapshotName::existing(snapshot).unwrap(), "", &none);
        }
        assert_eq!(disk, Path::new("/nosuch/web.___"));
        let directory = tempfile::tempdir().unwrap();
        for long in ["x".repeat(255), "語".repeat(85)] {
            let disk = directory.path().join(long);
            let snapshot = name(&"n".repeat(247));
            let first = beside(&disk, &snapshot, ".ram", &none);
            std::fs::write(&first, "").unwrap();
            let second = beside(&disk, &snapshot, ".ram", &none);
            std::fs::write(&second, "").unwrap();
            assert!(second.to_string_lossy().ends_with("-2.ram"), "{}", second.display());
        }
    }

    #[test]
    fn a_name_that_is_taken_gets_a_number() {
        let directory = tempfile::tempdir().unwrap();
        let at = |file: &str| directory.path().join(file);
        let mut taken = BTreeSet::new();
        let overlay = beside(&at("disk.raw"), &name("sn01"), "", &taken);
        assert_eq!(overlay, at("disk.sn01"));
        taken.insert(overlay);
        assert_eq!(beside(&at("disk.qcow2"), &name("sn01"), "", &taken), at("disk.sn01-2"), "of another disk");
        std::fs::write(at("disk.sn01-2"), "").unwrap();
        assert_eq!(beside(&at("disk.qcow2"), &name("sn01"), "", &taken), at("disk.sn01-3"), "there is such a file");
        std::fs::write(at("disk.sn01.ram"), "").unwrap();
        assert_eq!(beside(&at("disk.raw"), &name("sn01"), ".ram", &taken), at("disk.sn01-2.ram"));
    }
}
