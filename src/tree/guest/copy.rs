//! Copying files and directories between the host and a guest, by the guest's `tar`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, SyncSender};

use crate::error::{Because, Error, Result};
use crate::hypervisor::{Command, Exit, Guest, Input, Stream};
use crate::stop::{Interrupt, Stop};

/// How many pieces of an archive are made before the guest takes them.
const AHEAD: usize = 4;

/// Says what a path is: `directory`, `file`, or nothing.
const LOOK: &str = r#"if [ -d "$1" ]; then echo directory; elif [ -e "$1" ] || [ -h "$1" ]; then echo file; fi"#;
const PACK: &str = r#"cd -- "$1" && exec tar -cf - -- "$2""#;
/// Unpacks into a directory, which it makes if that is asked for.
const UNPACK: &str = r#"{ [ -z "$2" ] || [ -d "$1" ] || mkdir -- "$1"; } && cd -- "$1" && exec tar -x"$3"f -"#;

const NO_READER: &str = "cannot write the archive";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
    Missing,
}

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
    pub interrupt: &'c Interrupt,
    pub stop: &'c Stop,
    pub options: CopyOptions,
}

impl Copy<'_> {
    /// Writes a file or a directory of the guest as an archive.
    pub fn pack(&self, from: &GuestPath, archive: &mut dyn Write) -> Result<()> {
        let (directory, name) = match self.look(&from.0)? {
            Kind::Missing => return Err(missing(from)),
            Kind::Directory if from.is_content() => (from.0.as_str(), "."),
            _ => from.split(),
        };
        self.run_pack(from, directory, name, archive)
    }

    /// Unpacks an archive into a directory of the guest.
    pub fn unpack(&self, archive: &Input, to: &GuestPath) -> Result<()> {
        match self.look(&to.0)? {
            Kind::Directory => self.run_unpack(archive, &to.0, false, &to.0),
            Kind::File => Err(cannot_write(&to.0).cause("it is no directory, and an archive needs one")),
            Kind::Missing => Err(cannot_write(&to.0).cause("no such directory")),
        }
    }

    /// Copies from the guest to the host, as docker does: into a directory that is there, or under the new name.
    pub fn take(&self, from: &GuestPath, to: &Path) -> Result<()> {
        let kind = self.look(&from.0)?;
        let (directory, name) = from.split();
        let there = to.metadata().ok();
        let is_there = there.is_some();
        let is_directory = there.is_some_and(|there| there.is_dir());
        let ends_in_slash = to.as_os_str().as_encoded_bytes().ends_with(b"/");
        let failed = || Error::failed(format!("cannot write `{}`", to.display()));
        let inside = || if name == "." { to.to_path_buf() } else { to.join(name) };
        let target = match kind {
            Kind::Missing => return Err(missing(from)),
            Kind::Directory if is_there && !is_directory => {
                return Err(failed().cause(format!("it is a file, and `{}` in the guest is a directory", from.0)));
            }
            Kind::Directory if !is_directory || from.is_content() => to.to_path_buf(),
            Kind::File if !is_directory && ends_in_slash => return Err(failed().cause("no such directory")),
            Kind::File if !is_directory => to.to_path_buf(),
            Kind::Directory | Kind::File => inside(),
        };
        let (reader, mut writer) = io::pipe().because(|| "cannot make a pipe".to_string())?;
        let is_whole = kind == Kind::Directory;
        std::thread::scope(|scope| {
            let (keeps_owners, place) = (self.options.keeps_owners, &target);
            let unpacking = scope.spawn(move || unpack_here(reader, place, is_whole, keeps_owners));
            let packed = match kind {
                Kind::Directory => self.run_pack(from, &from.0, ".", &mut writer),
                _ => self.run_pack(from, directory, name, &mut writer),
            };
            drop(writer);
            let unpacked = unpacking.join().unwrap_or_else(|_| Err(io::Error::other("unpacking panicked")));
            match packed {
                // Then it is the unpacking that failed.
                Err(error) if error.message == NO_READER => {}
                packed => packed?,
            }
            unpacked.because(|| format!("cannot write `{}`", target.display()))
        })
    }

    /// Copies from the host to the guest, in the same way.
    pub fn give(&self, from: &Path, to: &GuestPath) -> Result<()> {
        let failed = || format!("cannot read `{}`", from.display());
        let metadata = from.symlink_metadata().because(failed)?;
        let is_content = from.as_os_str().as_encoded_bytes().ends_with(b"/.");
        let is_directory = metadata.is_dir() || is_content;
        let kind = self.look(&to.0)?;
        let name = from.canonicalize().ok().filter(|_| is_directory).unwrap_or_else(|| from.to_path_buf());
        let name = name.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (parent, last) = to.split();
        let within = |name: &str| format!("{}/{name}", to.0.trim_end_matches('/'));
        // The directory to unpack in, whether it is made, and the name there.
        let (place, makes, name) = match (kind, is_directory) {
            (Kind::Directory, true) if is_content || name.is_empty() => (to.0.clone(), false, ".".to_string()),
            (Kind::Directory, true) => (within(&name), true, ".".to_string()),
            (Kind::Directory, false) => (to.0.clone(), false, name),
            (Kind::File, true) => {
                return Err(cannot_write(&to.0).cause(format!("it is a file, and `{}` is a directory", from.display())));
            }
            (Kind::Missing, true) => (to.0.clone(), true, ".".to_string()),
            (Kind::Missing, false) if to.is_of_directory() => {
                return Err(cannot_write(&to.0).cause("no such directory"));
            }
            (_, false) => (parent.to_string(), false, last.to_string()),
        };
        let (sender, archive) = mpsc::sync_channel(AHEAD);
        std::thread::scope(|scope| {
            scope.spawn(|| pack_here(from, is_directory, &name, sender, failed));
            let unpacked = self.run_unpack(&archive, &place, makes, &to.0);
            // Then packing ends too, if the guest has not taken all of it.
            drop(archive);
            unpacked
        })
    }

    fn look(&self, path: &str) -> Result<Kind> {
        let mut said = Vec::new();
        let command = Command::argv(["/bin/sh", "-c", LOOK, "sh", path]);
        self.guest.run(&command, &mut |_, bytes| said.extend_from_slice(bytes), self.stop)?;
        Ok(match String::from_utf8_lossy(&said).trim() {
            "directory" => Kind::Directory,
            "file" => Kind::File,
            _ => Kind::Missing,
        })
    }

    fn run_pack(&self, from: &GuestPath, directory: &str, name: &str, archive: &mut dyn Write) -> Result<()> {
        let (mut errors, mut broken) = (Vec::new(), None);
        let mut output = |stream, bytes: &[u8]| match stream {
            Stream::Stderr => errors.extend_from_slice(bytes),
            Stream::Stdout if broken.is_none() => {
                if let Err(error) = archive.write_all(bytes) {
                    // What comes has no reader any more.
                    broken = Some(error);
                    self.interrupt.raise();
                }
            }
            Stream::Stdout => {}
        };
        let exit =
            self.guest.run(&Command::argv(["/bin/sh", "-c", PACK, "sh", directory, name]), &mut output, self.stop);
        if let Some(cause) = broken {
            return Err(Error::failed(NO_READER).cause(cause));
        }
        let failed = format!("cannot read `{}` in the guest", from.0);
        ended(exit?, &errors, failed)
    }

    fn run_unpack(&self, archive: &Input, directory: &str, makes: bool, to: &str) -> Result<()> {
        let mut said = Vec::new();
        let owners = if self.options.keeps_owners { "p" } else { "o" };
        let command =
            Command::argv(["/bin/sh", "-c", UNPACK, "sh", directory, if makes { "make" } else { "" }, owners]);
        let mut output = |_, bytes: &[u8]| said.extend_from_slice(bytes);
        let (_, no_signals) = mpsc::channel();
        let exit = self.guest.run_with_input(&command, archive, &no_signals, &mut output, self.stop)?;
        ended(exit, &said, format!("cannot write `{to}` in the guest"))
    }
}

fn missing(path: &GuestPath) -> Error {
    Error::failed(format!("cannot read `{}` in the guest", path.0)).cause("No such file or directory")
}

fn cannot_write(path: &str) -> Error {
    Error::failed(format!("cannot write `{path}` in the guest"))
}

fn ended(exit: Exit, said: &[u8], failed: String) -> Result<()> {
    let said = String::from_utf8_lossy(said);
    let last = said.lines().last().unwrap_or_default().trim();
    match exit {
        Exit(0) => Ok(()),
        Exit(127) if last.contains("tar") => {
            Err(Error::failed(failed).cause("there is no `tar` in the guest").hint("install it there"))
        }
        Exit(status) if last.is_empty() => {
            Err(Error::failed(failed).cause(format!("`tar` ended with status {status}")))
        }
        Exit(_) => Err(Error::failed(failed).cause(last)),
    }
}

/// Unpacks a directory into `target`, or the only file in an archive as `target`.
fn unpack_here(mut archive: impl Read, target: &Path, is_directory: bool, keeps_owners: bool) -> io::Result<()> {
    let mut entries = tar::Archive::new(&mut archive);
    entries.set_preserve_permissions(true);
    entries.set_preserve_ownerships(keeps_owners);
    if is_directory {
        if !target.is_dir() {
            std::fs::create_dir(target)?;
        }
        entries.unpack(target)?;
    } else if let Some(entry) = entries.entries()?.next() {
        let mut entry = entry?;
        let is_special = target.metadata().is_ok_and(|there| !there.is_file() && !there.is_dir());
        if is_special && entry.header().entry_type().is_file() {
            // A device or a pipe is written to, not replaced.
            io::copy(&mut entry, &mut File::options().write(true).open(target)?)?;
        } else {
            entry.unpack(target)?;
        }
    }
    // The guest waits for the end of the archive to be read.
    io::copy(&mut archive, &mut io::sink()).map(drop)
}

/// Sends an archive of a directory's content, or of one file under a name.
fn pack_here(
    from: &Path,
    is_directory: bool,
    name: &str,
    sender: SyncSender<Result<Vec<u8>>>,
    failed: impl Fn() -> String,
) {
    let mut builder = tar::Builder::new(io::BufWriter::with_capacity(64 << 10, Pieces(sender.clone())));
    builder.follow_symlinks(false);
    let packed = match is_directory {
        true => builder.append_dir_all(".", from),
        false => append_file(&mut builder, from, name),
    };
    let packed = packed.and_then(|()| builder.into_inner()?.flush());
    if let Err(error) = packed.because(failed) {
        // The guest may have ended before; then this has no reader.
        let _ = sender.send(Err(error));
    }
}

fn append_file<W: Write>(builder: &mut tar::Builder<W>, from: &Path, name: &str) -> io::Result<()> {
    if from.symlink_metadata()?.is_file() {
        builder.append_file(name, &mut File::open(from)?)
    } else {
        builder.append_path_with_name(from, PathBuf::from(name))
    }
}

/// What is written is sent in pieces.
struct Pieces(SyncSender<Result<Vec<u8>>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.send(Ok(bytes.to_vec())).map_err(gone)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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

    #[test]
    fn what_tar_says_last_is_the_cause() {
        let text =
            |status, said: &str| ended(Exit(status), said.as_bytes(), "cannot".to_string()).unwrap_err().to_string();
        assert!(ended(Exit(0), b"tar: warning", String::new()).is_ok());
        assert_eq!(text(1, "a\ntar: x: No space left on device\n"), "cannot: tar: x: No space left on device");
        assert_eq!(text(2, ""), "cannot: `tar` ended with status 2");
        let missing = "cannot: there is no `tar` in the guest\nhint: install it there";
        assert_eq!(text(127, "sh: 1: exec: tar: not found\n"), missing);
    }
}
