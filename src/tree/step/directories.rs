//! Carries out operations on directories.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{Because, Error, Result};
use crate::hypervisor::{Guest, PathKind, UnpackOptions};
use crate::stop::Stop;
use crate::tree::archive::exclude::Exclude;
use crate::tree::archive::listing::{Listing, Reading};
use crate::tree::archive::pack::{self, Packing};
use crate::tree::archive::stream;
use crate::tree::archive::unpack::{Unpacking, is_there, unpack};
use crate::tree::record::operation::{Bytes, Content, Operation, Outcome, RESULT_LIMIT};

/// The mode of a directory that is made for what is put into it.
pub const USUAL_MODE: u32 = 0o755;

/// Copies a directory of the host into one of the guest, which is made if it is missing.
pub fn push(
    guest: &dyn Guest,
    path: &str,
    listing: &Listing,
    (owner, preserve): (Option<&str>, bool),
    stop: &Stop,
) -> Result<Outcome> {
    let target = guest.unpack_target(path, owner, stop)?;
    let failed = || Error::failed(format!("cannot write `{path}` in the guest"));
    if target.kind == PathKind::File {
        return Err(failed().cause(format!("it is a file, and `{}` is a directory", listing.root.display())));
    }
    let keeps = preserve || owner.is_some();
    let packing = Packing {
        owner: target.owner,
        keeps_holes: target.has_gnu_tar,
        // Another tar would change the modes of those that are there.
        leaves_out_parents: !keeps && !target.has_gnu_tar,
    };
    let makes = match preserve {
        true => listing
            .root
            .metadata()
            .because(|| format!("cannot read `{}`", listing.root.display()))?
            .permissions()
            .mode(),
        false => USUAL_MODE,
    };
    let options = UnpackOptions { makes: Some(makes & 0o7777), keeps_owners: keeps, changes_directories: preserve };
    stream::send(
        |pieces| pack::pack(&listing.root, &listing.entries, packing, pieces),
        || format!("cannot read `{}`", listing.root.display()),
        |archive| guest.unpack(archive, path, &options, stop),
    )?;
    Ok(Outcome::Pushed(listing.marks()))
}

/// How a directory is pulled.
pub struct Pull<'p> {
    pub path: &'p str,
    pub exclude: &'p [String],
    pub preserve: bool,
    pub host: &'p Path,
}

impl<'p> Pull<'p> {
    /// Returns what an operation pulls to the host, if it may be a directory.
    pub fn of(operation: &'p Operation, host: &'p Path) -> Option<Self> {
        match operation {
            Operation::Read { path, exclude, preserve } => Some(Self { path, exclude, preserve: *preserve, host }),
            _ => None,
        }
    }

    fn unpacking(&self) -> Result<Unpacking> {
        let (exclude, is_new) = (Exclude::new(self.exclude)?, !self.host.is_dir());
        Ok(Unpacking { exclude, keeps_modes: self.preserve, keeps_owners: self.preserve, skips_special: false, is_new })
    }

    fn failed(&self) -> String {
        format!("cannot write `{}`", self.host.display())
    }

    /// Says whether the options make sense for a directory alone.
    pub fn is_of_directory(&self) -> bool {
        self.preserve || !self.exclude.is_empty()
    }

    pub fn missing(&self) -> Error {
        Error::failed(format!("cannot read `{}` in the guest", self.path)).cause("No such file or directory")
    }

    /// The error for a file where only a directory makes sense.
    pub fn is_of_file(&self) -> Error {
        match self.host.is_dir() {
            true => Error::failed(self.failed())
                .cause(format!("it is a directory, and `{}` in the guest is a file", self.path))
                .hint("name the file to be written"),
            false => Error::failed(format!("cannot pull `{}`", self.path))
                .cause("it is a file, and `exclude` and `preserve` are for directories"),
        }
    }

    /// Copies a directory of the guest into one of the host, which is made if it is missing.
    pub fn carry_out(&self, guest: &dyn Guest, stop: &Stop) -> Result<Outcome> {
        let unpacking = self.unpacking()?;
        self.make_place()?;
        let mut kept = Kept::default();
        stream::receive(
            |archive, stop| guest.pack(self.path, ".", &mut Tee(archive, &mut kept), stop),
            |archive| unpack(archive, self.host, &unpacking),
            || self.failed(),
            stop,
        )?;
        match kept.bytes {
            Some(bytes) => Ok(Outcome::Directory(Bytes(bytes))),
            None => self.digest().map(|digest| Outcome::Unrecorded { size: kept.size, digest: Some(digest) }),
        }
    }

    fn make_place(&self) -> Result<()> {
        if self.host.metadata().is_ok_and(|place| !place.is_dir()) {
            let why = format!("it is a file, and `{}` in the guest is a directory", self.path);
            return Err(Error::failed(self.failed()).cause(why));
        }
        if self.host.is_dir() { Ok(()) } else { std::fs::create_dir(self.host).because(|| self.failed()) }
    }

    /// Writes what a journal kept of it, unless all of that is there.
    pub fn restore(&self, archive: &[u8]) -> Result<()> {
        let unpacking = self.unpacking()?;
        if is_there(archive, self.host, &unpacking).unwrap_or(false) {
            return Ok(());
        }
        self.make_place()?;
        unpack(archive, self.host, &unpacking).because(|| self.failed())
    }

    /// Returns the digest of the directory on the host, as it is now.
    pub fn digest(&self) -> Result<String> {
        let reading = Reading {
            exclude: Exclude::new(self.exclude)?,
            keeps_modes: self.preserve,
            keeps_owners: self.preserve,
            ..Reading::default()
        };
        Listing::of(self.host, &reading).map(|listing| Content::of_directory(&listing).digest)
    }
}

/// An archive, as much as a journal keeps.
struct Kept {
    bytes: Option<Vec<u8>>,
    size: u64,
}

impl Default for Kept {
    fn default() -> Self {
        Self { bytes: Some(Vec::new()), size: 0 }
    }
}

struct Tee<'t>(&'t mut dyn Write, &'t mut Kept);

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes)?;
        let kept = &mut *self.1;
        kept.size += written as u64;
        if kept.size > RESULT_LIMIT as u64 {
            kept.bytes = None;
        }
        kept.bytes.iter_mut().for_each(|all| all.extend_from_slice(&bytes[..written]));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
