//! A guest's tar archive, unpacked on the host. Nothing in it is believed: the guest may be hostile.

use std::fs::{File, FileTimes, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use tar::{Archive, Entry, EntryType};

use crate::tree::archive::exclude::Exclude;

/// What of an archive is kept.
#[derive(Clone, Debug, Default)]
pub struct Unpacking {
    pub exclude: Exclude,
    /// Keep the modes as they are. Otherwise they are 0755 for directories and executable files, and 0644 for others,
    /// and directories that are there already keep theirs.
    pub keeps_modes: bool,
    /// Give what is unpacked to its owners, by their numbers; only root may.
    pub keeps_owners: bool,
    /// Leave out devices and pipes, which are an error otherwise.
    pub skips_special: bool,
    /// Give the mode and the time of the packed directory to the one that it is unpacked into.
    pub is_new: bool,
}

/// A directory, which gets its mode and its time when everything is in it.
struct Finished {
    place: PathBuf,
    mode: Option<u32>,
    modified: u64,
}

/// Unpacks an archive into a directory that is there. Nothing is written outside of it, whatever links are in the
/// archive or were there before.
pub fn unpack(archive: impl Read, into: &Path, unpacking: &Unpacking) -> io::Result<()> {
    let into = into.canonicalize()?;
    let mut archive = Archive::new(archive);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(unpacking.keeps_owners && rustix::process::geteuid().is_root());
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        let name = name(&entry)?;
        if name.as_os_str().is_empty() {
            let (mode, modified) = (mode(&entry, unpacking)?, entry.header().mtime()?);
            let top = Finished { place: into.clone(), mode: Some(mode), modified };
            directories.extend(unpacking.is_new.then_some(top));
            continue;
        }
        if unpacking.exclude.covers(&name, kind.is_dir()) {
            continue;
        }
        if is_special(kind) {
            if unpacking.skips_special {
                continue;
            }
            return Err(io::Error::other(format!("`{}` is a device or a named pipe", name.display())));
        }
        let place = into.join(&name);
        let present = place.symlink_metadata().ok();
        let mode = mode(&entry, unpacking)?;
        let modified = entry.header().mtime()?;
        let (is_present, is_directory) = (present.is_some(), present.is_some_and(|present| present.is_dir()));
        if kind.is_hard_link() && is_present && !is_directory {
            entry_is_inside(&into, &place)?;
            std::fs::remove_file(&place)?;
            make(&mut entry, &into)?;
        } else if kind.is_dir() {
            let was_there = is_directory;
            let mode = (unpacking.keeps_modes || !was_there).then_some(mode);
            match mode {
                Some(mode) => {
                    make(&mut entry, &into)?;
                    set_mode(&place, mode | 0o700)?;
                }
                None => entry_is_inside(&into, &place)?,
            }
            directories.push(Finished { place, mode, modified });
        } else {
            // Others must not read it before it has its mode.
            entry.set_mask(0o7077);
            make(&mut entry, &into)?;
            if !kind.is_hard_link() && !kind.is_symlink() {
                set_mode(&place, mode)?;
            }
        }
    }
    // The innermost first, since making what is in a directory changes its time.
    directories.iter().rev().try_for_each(Finished::finish)
}

/// Says whether a directory has everything in an archive, with the same content.
pub fn is_there(archive: impl Read, directory: &Path, unpacking: &Unpacking) -> io::Result<bool> {
    let mut archive = Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        let name = name(&entry)?;
        if name.as_os_str().is_empty() || unpacking.exclude.covers(&name, kind.is_dir()) {
            continue;
        }
        let place = directory.join(&name);
        let found = place.symlink_metadata()?;
        let is_same = if kind.is_dir() {
            found.is_dir()
        } else if kind.is_symlink() {
            entry
                .link_name_bytes()
                .is_some_and(|name| std::fs::read_link(&place).is_ok_and(|link| link.as_os_str().as_bytes() == &*name))
        } else if kind.is_hard_link() {
            found.is_file()
        } else {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            found.is_file() && std::fs::read(&place)? == content
        };
        if !is_same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the entry's path below the top.
fn name<R: Read>(entry: &Entry<'_, R>) -> io::Result<PathBuf> {
    let path = entry.path()?;
    if path.components().any(|part| matches!(part, Component::ParentDir | Component::RootDir)) {
        return Err(io::Error::other(format!("`{}` leads out of the archive", path.display())));
    }
    Ok(path.components().filter(|part| *part != Component::CurDir).collect())
}

fn is_special(kind: EntryType) -> bool {
    kind.is_block_special() || kind.is_character_special() || kind.is_fifo()
}

fn mode<R: Read>(entry: &Entry<'_, R>, unpacking: &Unpacking) -> io::Result<u32> {
    let mode = entry.header().mode()? & 0o7777;
    Ok(match unpacking.keeps_modes {
        true => mode,
        false if entry.header().entry_type().is_dir() || mode & 0o100 != 0 => 0o755,
        false => 0o644,
    })
}

/// Makes what an entry says. The crate refuses whatever would come to lie outside, by links too.
fn make<R: Read>(entry: &mut Entry<'_, R>, into: &Path) -> io::Result<()> {
    match entry.unpack_in(into)? {
        true => Ok(()),
        false => Err(io::Error::other(format!("`{}` leads out of the archive", entry.path()?.display()))),
    }
}

fn entry_is_inside(into: &Path, place: &Path) -> io::Result<()> {
    let parent = place.parent().unwrap_or(into).canonicalize()?;
    match parent.starts_with(into) {
        true => Ok(()),
        false => Err(io::Error::other(format!("`{}` lies behind a link that leads out", place.display()))),
    }
}

fn set_mode(place: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(place, Permissions::from_mode(mode))
}

impl Finished {
    fn finish(&self) -> io::Result<()> {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(self.modified);
        // It was seen to be a directory, and its own name is no link.
        File::open(&self.place)?.set_times(FileTimes::new().set_modified(modified))?;
        self.mode.map_or(Ok(()), |mode| set_mode(&self.place, mode))
    }
}
