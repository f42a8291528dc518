//! Copying files and directories between the host and a guest, as archives.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{Because, Error, Result};
use crate::hypervisor::{Guest, Input, PathKind, UnpackOptions};
use crate::stop::Stop;
use crate::tree::archive::listing::{Listing, Reading};
use crate::tree::archive::pack::{Packing, pack};
use crate::tree::archive::stream;
use crate::tree::archive::unpack::{Unpacking, unpack};

/// How a copy is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Keep the owners; otherwise what is copied belongs to the user who copies: in a guest, to root.
    pub keeps_owners: bool,
}

/// A path in a guest, from the root on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestPath(String);

impl GuestPath {
    pub fn new(path: &str) -> Self {
        Self(if path.starts_with('/') { path.to_string() } else { format!("/{path}") })
    }

    /// Returns the directory that it is in, and its name there; the name of a directory itself is `.`.
    fn split(&self) -> (&str, &str) {
        let trimmed = self.0.trim_end_matches('/');
        match trimmed.rsplit_once('/') {
            Some((directory, name)) if !name.is_empty() => (if directory.is_empty() { "/" } else { directory }, name),
            _ => ("/", "."),
        }
    }

    fn is_of_directory(&self) -> bool {
        self.0.ends_with('/') || self.is_content()
    }

    /// Says whether what is in a directory is meant, not the directory.
    fn is_content(&self) -> bool {
        self.0.ends_with("/.")
    }
}

/// The two sides of a copy: the guest, and what ends the wait for it.
pub struct Copy<'c> {
    pub guest: &'c dyn Guest,
    pub stop: &'c Stop,
    pub options: CopyOptions,
}

impl Copy<'_> {
    /// Writes a file or a directory of the guest as an archive.
    pub fn pack(&self, from: &GuestPath, archive: &mut dyn Write) -> Result<()> {
        let (directory, name) = match self.guest.kind_of(&from.0, self.stop)? {
            PathKind::Missing => return Err(missing(from)),
            PathKind::Directory if from.is_content() => (from.0.as_str(), "."),
            _ => from.split(),
        };
        self.guest.pack(directory, name, archive, self.stop)
    }

    /// Unpacks an archive into a directory of the guest.
    pub fn unpack(&self, archive: &Input, to: &GuestPath) -> Result<()> {
        match self.guest.kind_of(&to.0, self.stop)? {
            PathKind::Directory => self.guest.unpack(archive, &to.0, &self.unpack_options(None), self.stop),
            PathKind::File => Err(cannot_write(&to.0).cause("it is no directory, and an archive needs one")),
            PathKind::Missing => Err(cannot_write(&to.0).cause("no such directory")),
        }
    }

    fn unpack_options(&self, makes: Option<u32>) -> UnpackOptions {
        let keeps_owners = self.options.keeps_owners;
        UnpackOptions { makes, keeps_owners, changes_directories: keeps_owners }
    }

    /// Copies from the guest to the host, as docker does: into a directory that is there, or under the new name.
    pub fn take(&self, from: &GuestPath, to: &Path) -> Result<()> {
        let kind = self.guest.kind_of(&from.0, self.stop)?;
        let (directory, name) = from.split();
        let there = to.metadata().ok();
        let is_there = there.is_some();
        let is_directory = there.is_some_and(|there| there.is_dir());
        let ends_in_slash = to.as_os_str().as_encoded_bytes().ends_with(b"/");
        let failed = || Error::failed(format!("cannot write `{}`", to.display()));
        let inside = || if name == "." { to.to_path_buf() } else { to.join(name) };
        let target = match kind {
            PathKind::Missing => return Err(missing(from)),
            PathKind::Directory if is_there && !is_directory => {
                return Err(failed().cause(format!("it is a file, and `{}` in the guest is a directory", from.0)));
            }
            PathKind::Directory if !is_directory || from.is_content() => to.to_path_buf(),
            PathKind::File if !is_directory && ends_in_slash => return Err(failed().cause("no such directory")),
            PathKind::File if !is_directory => to.to_path_buf(),
            PathKind::Directory | PathKind::File => inside(),
        };
        let (directory, name) = if kind == PathKind::Directory { (from.0.as_str(), ".") } else { (directory, name) };
        let (keeps_owners, is_whole) = (self.options.keeps_owners, kind == PathKind::Directory);
        stream::receive(
            |archive, stop| self.guest.pack(directory, name, archive, stop),
            |archive| match is_whole {
                true => unpack_directory(archive, &target, keeps_owners),
                false => unpack_file(archive, &target, keeps_owners),
            },
            || format!("cannot write `{}`", target.display()),
            self.stop,
        )
    }

    /// Copies from the host to the guest, in the same way.
    pub fn give(&self, from: &Path, to: &GuestPath) -> Result<()> {
        let failed = || format!("cannot read `{}`", from.display());
        let is_content = from.as_os_str().as_encoded_bytes().ends_with(b"/.");
        let metadata = if is_content { from.metadata() } else { from.symlink_metadata() }.because(failed)?;
        let is_directory = metadata.is_dir() || is_content;
        let there = self.guest.unpack_target(&to.0, None, self.stop)?;
        let name = from.canonicalize().ok().filter(|_| is_directory).unwrap_or_else(|| from.to_path_buf());
        let name = name.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (parent, last) = to.split();
        let within = |name: &str| format!("{}/{name}", to.0.trim_end_matches('/'));
        // The directory to unpack in, whether it is made, and the name of a file there.
        let (place, makes, name) = match (there.kind, is_directory) {
            (PathKind::Directory, true) if is_content || name.is_empty() => (to.0.clone(), false, String::new()),
            (PathKind::Directory, true) => (within(&name), true, String::new()),
            (PathKind::Directory, false) => (to.0.clone(), false, name),
            (PathKind::File, true) => {
                return Err(cannot_write(&to.0).cause(format!("it is a file, and `{}` is a directory", from.display())));
            }
            (PathKind::Missing, true) => (to.0.clone(), true, String::new()),
            (PathKind::Missing, false) if to.is_of_directory() => {
                return Err(cannot_write(&to.0).cause("no such directory"));
            }
            (PathKind::Missing, false) if self.guest.kind_of(parent, self.stop)? != PathKind::Directory => {
                return Err(cannot_write(&to.0).cause("no such directory"));
            }
            (_, false) => (parent.to_string(), false, last.to_string()),
        };
        let keeps_owners = self.options.keeps_owners;
        let reading =
            Reading { keeps_modes: true, keeps_owners, skips_special: true, skips_content: true, ..Reading::default() };
        let listing = match is_directory {
            true => Listing::of(from, &reading)?,
            false => Listing::of_file(from, &name, &reading)?,
        };
        let has_gnu_tar = there.has_gnu_tar;
        let packing =
            Packing { owner: (0, 0), keeps_holes: has_gnu_tar, leaves_out_parents: !keeps_owners && !has_gnu_tar };
        let options = self.unpack_options(makes.then_some(metadata.permissions().mode() & 0o7777));
        stream::send(
            |pieces| pack(&listing.root, &listing.entries, packing, pieces),
            failed,
            |archive| self.guest.unpack(archive, &place, &options, self.stop),
        )
    }
}

fn missing(path: &GuestPath) -> Error {
    Error::failed(format!("cannot read `{}` in the guest", path.0)).cause("No such file or directory")
}

fn cannot_write(path: &str) -> Error {
    Error::failed(format!("cannot write `{path}` in the guest"))
}

fn unpack_directory(archive: impl Read, target: &Path, keeps_owners: bool) -> io::Result<()> {
    let is_new = !target.is_dir();
    if is_new {
        std::fs::create_dir(target)?;
    }
    let unpacking = Unpacking { keeps_modes: true, keeps_owners, skips_special: true, is_new, ..Unpacking::default() };
    unpack(archive, target, &unpacking)
}

/// Unpacks the only file in an archive under a name of its own.
fn unpack_file(archive: impl Read, target: &Path, keeps_owners: bool) -> io::Result<()> {
    let mut archive = tar::Archive::new(archive);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(keeps_owners);
    let Some(entry) = archive.entries()?.next() else { return Ok(()) };
    let mut entry = entry?;
    let is_special = target.metadata().is_ok_and(|there| !there.is_file() && !there.is_dir());
    if is_special && entry.header().entry_type().is_file() {
        // A device or a pipe is written to, not replaced.
        io::copy(&mut entry, &mut File::options().write(true).open(target)?).map(drop)
    } else {
        entry.unpack(target).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_guest_is_split_into_its_directory_and_its_name() {
        let split = |path: &str| {
            let path = GuestPath::new(path);
            let (directory, name) = path.split();
            (directory.to_string(), name.to_string(), path.is_of_directory(), path.is_content())
        };
        let is = |directory: &str, name: &str, a, b| (directory.to_string(), name.to_string(), a, b);
        assert_eq!(split("/etc/hosts"), is("/etc", "hosts", false, false));
        assert_eq!(split("etc/ssh/"), is("/etc", "ssh", true, false));
        assert_eq!(split("/etc"), is("/", "etc", false, false));
        assert_eq!(split("/"), is("/", ".", true, false));
        assert_eq!(split(""), is("/", ".", true, false));
        assert_eq!(split("/srv/."), is("/srv", ".", true, true));
    }
}
