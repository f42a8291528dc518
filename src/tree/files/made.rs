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
use crate::hypervisor::Disk;
use crate::tree::clone::builder::{NVRAM, PSTORE};
use crate::tree::files::file_id::place;
use crate::tree::files::store::maker;
use crate::tree::machine::engine::{Engine, Machine};

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
    ["qcow2", "ram", "devices", "restore", "boot", crate::tree::files::draft::ENDING, NVRAM, PSTORE].contains(&ending)
}

/// Says by its name that a file holds the RAM of a guest of ours, or the state of its devices.
pub fn is_ram(file: &Path) -> bool {
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let is_ours = file.file_stem().and_then(|stem| stem.to_str()).and_then(maker).is_some();
    is_ours && ["ram", "devices"].contains(&ending)
}

impl Engine {
    /// Notes that a file was just made for a machine, so that it may be removed one day. Where the fake hypervisor makes
    /// no real file there is nothing to note.
    pub(in crate::tree) fn record_made(&self, machine: &Machine, file: &Path) -> Result<()> {
        if fs::symlink_metadata(file).is_err() {
            return Ok(());
        }
        self.store.create_directory(&machine.directory)?;
        Made::of(&machine.directory).record(file)
    }
}

impl Engine {
    /// Removes a file that was made for a machine just now, and its record.
    pub(in crate::tree) fn unmake(&self, machine: &Machine, file: &Path) {
        if let Ok(metadata) = fs::symlink_metadata(file) {
            let _ = fs::remove_file(file);
            Made::of(&machine.directory).forget(&metadata);
        }
    }
}

impl Machine {
    /// Reads which files snaptree made for this machine.
    pub fn made(&self) -> Known {
        let mut known = Made::of(&self.directory).read_in(&self.directory);
        // Older versions recorded nothing, and put the overlays of somebody else's domain beside its disks.
        let disks = self.details.disks.iter().filter_map(Disk::file).filter_map(Path::parent);
        known.own.extend(disks.filter(|_| !self.is_ours).filter_map(|directory| fs::canonicalize(directory).ok()));
        known
    }
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
