//! The record of the files that snaptree made. Nothing else is ever removed.
//!
//! A file in a machine's own directory has its maker's id in its name. For every other one, such as an overlay beside a
//! disk that snaptree did not make, a file in the machine's directory records the inode and its birth time, so that a
//! file that replaces it later is not taken for it.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::error::{Because, Result};
use crate::tree::files::draft::ENDING;
use crate::tree::files::file_id::place;
use crate::tree::files::store::{Store, maker};

/// The endings of files that a clone may have besides disks and RAM, see
/// [`CloneSpec::own_files`](crate::hypervisor::CloneSpec::own_files).
pub const NVRAM: &str = "nvram";
pub const PSTORE: &str = "pstore";

/// The identity of a file, without its device: device numbers change when a host restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    inode: u64,
    /// In nanoseconds since the epoch; zero if the file system does not record it.
    born: u128,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Self { inode: metadata.ino(), born: born.map_or(0, |born| born.as_nanos()) }
    }
}

/// The record of one machine.
pub struct Made(PathBuf);

/// The record as it was read.
#[derive(Default)]
pub struct Known {
    stamps: HashSet<Stamp>,
    places: HashMap<PathBuf, Stamp>,
    /// The directory in which a maker's id in a name counts, and those in which it counts if nothing is recorded.
    own: Vec<PathBuf>,
}

/// Who made a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    Snaptree,
    SomebodyElse,
    /// Another file, in the place of one that snaptree made.
    Replaced,
}

impl Made {
    pub fn of(machine_directory: &Path) -> Self {
        Self(machine_directory.join("made"))
    }

    fn path(&self, stamp: Stamp) -> PathBuf {
        self.0.join(format!("{}-{}", stamp.inode, stamp.born))
    }

    /// Records that snaptree has just made a file.
    pub fn record(&self, file: &Path) -> Result<()> {
        let cannot = || format!("cannot record that `{}` was made", file.display());
        let stamp = Stamp::of(&fs::symlink_metadata(file).because(cannot)?);
        crate::paths::write_whole(&self.path(stamp), place(file).as_os_str().as_bytes()).because(cannot)
    }

    /// Records that a file was just made for a machine, so that it may be removed one day. The fake hypervisor may have
    /// made no real file; then there is nothing to record.
    pub fn record_if_there(&self, store: &Store, machine_directory: &Path, file: &Path) -> Result<()> {
        if fs::symlink_metadata(file).is_err() {
            return Ok(());
        }
        store.create_directory(machine_directory)?;
        self.record(file)
    }

    /// Removes a file that was just made, and its record.
    pub fn unmake(&self, file: &Path) {
        if let Ok(metadata) = fs::symlink_metadata(file) {
            let _ = fs::remove_file(file);
            self.forget(&metadata);
        }
    }

    /// Forgets a file that is about to be removed.
    pub fn forget(&self, metadata: &Metadata) {
        let _ = fs::remove_file(self.path(Stamp::of(metadata)));
    }

    /// Reads the record of a machine whose files in this directory have their makers' ids in their names.
    pub fn read_in(&self, directory: &Path) -> Known {
        let mut known = Known { own: fs::canonicalize(directory).into_iter().collect(), ..Known::default() };
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let stamp = name.to_str().and_then(|name| name.split_once('-'));
            let stamp =
                stamp.and_then(|(inode, born)| Some(Stamp { inode: inode.parse().ok()?, born: born.parse().ok()? }));
            let file = fs::read(entry.path()).ok().map(|path| PathBuf::from(OsString::from_vec(path)));
            if let (Some(stamp), Some(file)) = (stamp, file) {
                known.stamps.insert(stamp);
                known.places.insert(file, stamp);
            }
        }
        known
    }
}

impl Known {
    /// Returns who made an existing file.
    pub fn maker_of(&self, file: &Path) -> Maker {
        let Ok(metadata) = fs::symlink_metadata(file) else { return Maker::SomebodyElse };
        let (stamp, place) = (Stamp::of(&metadata), place(file));
        // Without a birth time the path has to match too: inode numbers are reused.
        let is_recorded = match stamp.born {
            0 => self.places.get(&place) == Some(&stamp),
            _ => self.stamps.contains(&stamp),
        };
        if is_recorded {
            return Maker::Snaptree;
        }
        if self.places.contains_key(&place) {
            return Maker::Replaced;
        }
        if self.has_named(file) { Maker::Snaptree } else { Maker::SomebodyElse }
    }

    /// Accepts a maker's id in a name in these directories too.
    pub fn also_in<'a>(&mut self, directories: impl Iterator<Item = &'a Path>) {
        self.own.extend(directories.filter_map(|directory| fs::canonicalize(directory).ok()));
    }

    /// Returns whether snaptree made a file, according to its name and its directory.
    pub fn has_named(&self, file: &Path) -> bool {
        let place = place(file);
        let is_named = place.file_stem().and_then(|stem| stem.to_str()).and_then(maker).is_some();
        let is_beside = place.parent().is_some_and(|directory| self.own.iter().any(|own| own == directory));
        is_named && is_beside && is_of_a_kind(&place)
    }
}

/// Returns whether snaptree makes files with such an ending.
pub fn is_of_a_kind(file: &Path) -> bool {
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    ["qcow2", "ram", "devices", "restore", "boot", ENDING, NVRAM, PSTORE].contains(&ending)
}

/// Returns whether a file holds the RAM or the device state of a guest of ours, according to its name.
pub fn is_ram(file: &Path) -> bool {
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let is_ours = file.file_stem().and_then(|stem| stem.to_str()).and_then(maker).is_some();
    is_ours && ["ram", "devices"].contains(&ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "s-0123456789ab-0.qcow2";

    #[test]
    fn only_the_very_file_that_was_recorded_is_snaptrees() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let made = Made::of(&path("machine"));
        for name in ["a", "b", "c"] {
            fs::write(path(name), "").unwrap();
        }
        made.record(&path("a")).unwrap();
        made.record(&path("b")).unwrap();
        fs::rename(path("c"), path("b")).unwrap();
        fs::write(path("c"), "").unwrap();
        std::os::unix::fs::symlink("a", path("link")).unwrap();
        let known = made.read_in(&path("machine"));
        let maker = |name: &str| known.maker_of(&path(name));
        assert_eq!(maker("a"), Maker::Snaptree);
        assert_eq!(maker("b"), Maker::Replaced);
        assert_eq!(maker("c"), Maker::SomebodyElse);
        assert_eq!(maker("link"), Maker::SomebodyElse);
        assert_eq!(maker("nothing"), Maker::SomebodyElse);

        made.forget(&fs::metadata(path("a")).unwrap());
        assert_eq!(made.read_in(&path("machine")).maker_of(&path("a")), Maker::SomebodyElse);
    }

    #[test]
    fn a_makers_id_in_a_name_counts_in_the_machines_own_directory_alone() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        for place in ["own", "other"] {
            fs::create_dir(root.join(place)).unwrap();
            fs::write(root.join(place).join(NAME), "").unwrap();
            fs::write(root.join(place).join(NAME).with_extension("s1"), "").unwrap();
        }
        let known = Known { own: vec![root.join("own")], ..Known::default() };
        assert_eq!(known.maker_of(&root.join("own").join(NAME)), Maker::Snaptree);
        assert_eq!(known.maker_of(&root.join("other/../own").join(NAME)), Maker::Snaptree);
        assert_eq!(known.maker_of(&root.join("other").join(NAME)), Maker::SomebodyElse);
        let of_libvirt = root.join("own").join(NAME).with_extension("s1");
        assert_eq!(known.maker_of(&of_libvirt), Maker::SomebodyElse, "libvirt made it beside a disk of ours");
    }
}
