//! The record of the files that snaptree made. Nothing else is ever removed.
//!
//! A file in a machine's own directory has its maker's id in its name. Of every other one, such as an overlay beside
//! somebody else's disk, a file in the machine's directory tells the inode and when that was born: what takes its place
//! later is another file.

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

/// The endings of what a clone may have besides disks and RAM, see
/// [`Clone::own_files`](crate::hypervisor::Clone::own_files).
pub const NVRAM: &str = "nvram";
pub const PSTORE: &str = "pstore";

/// What tells a file from every other one, on whatever device it is: numbers of devices change when a host is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    inode: u64,
    /// In nanoseconds since the epoch; zero where the file system does not know.
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
    /// The directory in which a maker's id in a name counts, and those in which it does where nothing is recorded.
    own: Vec<PathBuf>,
}

/// Whose a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    Snaptree,
    SomebodyElse,
    /// It is where snaptree made one, and is another one.
    Replaced,
}

impl Made {
    pub fn of(machine_directory: &Path) -> Self {
        Self(machine_directory.join("made"))
    }

    fn path(&self, stamp: Stamp) -> PathBuf {
        self.0.join(format!("{}-{}", stamp.inode, stamp.born))
    }

    /// Notes that snaptree has just made a file.
    pub fn record(&self, file: &Path) -> Result<()> {
        let cannot = || format!("cannot record that `{}` was made", file.display());
        let stamp = Stamp::of(&fs::symlink_metadata(file).because(cannot)?);
        crate::paths::write_whole(&self.path(stamp), place(file).as_os_str().as_bytes()).because(cannot)
    }

    /// Notes that a file was just made for a machine, so that it may be removed one day. Where the fake hypervisor makes
    /// no real file there is nothing to note.
    pub fn record_if_there(&self, store: &Store, machine_directory: &Path, file: &Path) -> Result<()> {
        if fs::symlink_metadata(file).is_err() {
            return Ok(());
        }
        store.create_directory(machine_directory)?;
        self.record(file)
    }

    /// Removes a file that was made just now, and its record.
    pub fn unmake(&self, file: &Path) {
        if let Ok(metadata) = fs::symlink_metadata(file) {
            let _ = fs::remove_file(file);
            self.forget(&metadata);
        }
    }

    /// Forgets a file that is removed now.
    pub fn forget(&self, metadata: &Metadata) {
        let _ = fs::remove_file(self.path(Stamp::of(metadata)));
    }

    /// Reads the record, for a machine whose files have their makers' ids in this directory.
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
    /// Says who made a file that is there.
    pub fn maker_of(&self, file: &Path) -> Maker {
        let Ok(metadata) = fs::symlink_metadata(file) else { return Maker::SomebodyElse };
        let (stamp, place) = (Stamp::of(&metadata), place(file));
        // Where nobody knows when it was born, an inode alone may be used again.
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

    /// Lets a maker's id in a name count in these directories too.
    pub fn also_in<'a>(&mut self, directories: impl Iterator<Item = &'a Path>) {
        self.own.extend(directories.filter_map(|directory| fs::canonicalize(directory).ok()));
    }

    /// Says by its name and its place that snaptree made a file.
    pub fn has_named(&self, file: &Path) -> bool {
        let place = place(file);
        let is_named = place.file_stem().and_then(|stem| stem.to_str()).and_then(maker).is_some();
        let is_beside = place.parent().is_some_and(|directory| self.own.iter().any(|own| own == directory));
        is_named && is_beside && is_of_a_kind(&place)
    }
}

/// Says by the ending of a file's name that snaptree makes such files.
pub fn is_of_a_kind(file: &Path) -> bool {
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    ["qcow2", "ram", "devices", "restore", "boot", ENDING, NVRAM, PSTORE].contains(&ending)
}

/// Says by its name that a file holds the RAM of a guest of ours, or the state of its devices.
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
