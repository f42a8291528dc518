//! Directories of the guest as archives, by the guest's own `tar`.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::mpsc;

use crate::agent::agent::Agent;
use crate::agent::transport::Transport;
use crate::error::{Error, Result};
use crate::hypervisor::{
    Command, Exit, Guest, GuestEntry, Input, NO_READER, PathKind, Stream, UnpackOptions, UnpackTarget,
};
use crate::stop::{Interrupt, Stop};

const LOOK: &str =
    r#"if [ -d "$1" ]; then echo directory; elif [ -e "$1" ] || [ -h "$1" ]; then echo file; else echo missing; fi"#;
const TARGET: &str = include_str!("target.sh");
const PACK: &str = include_str!("pack.sh");
const UNPACK: &str = include_str!("unpack.sh");
const LIST: &str = include_str!("list.sh");
const REMOVE: &str = include_str!("remove.sh");

impl<T: Transport> Agent<T> {
    pub fn look(&self, path: &str, stop: &Stop) -> Result<PathKind> {
        let (_, said, _) = self.ask(["/bin/sh", "-c", LOOK, "sh", path], stop)?;
        Ok(kind(&said))
    }

    pub fn pack_by_tar(&self, directory: &str, name: &str, archive: &mut dyn Write, stop: &Stop) -> Result<()> {
        let (mut errors, mut broken) = (Vec::new(), None);
        let no_reader = Interrupt::default();
        let mut output = |stream, bytes: &[u8]| match stream {
            Stream::Stderr => errors.extend_from_slice(bytes),
            Stream::Stdout if broken.is_none() => {
                if let Err(error) = archive.write_all(bytes) {
                    // What comes has no reader any more.
                    broken = Some(error);
                    no_reader.raise();
                }
            }
            Stream::Stdout => {}
        };
        let command = Command::argv(["/bin/sh", "-c", PACK, "sh", directory, name]);
        let exit = self.run(&command, &mut output, &stop.or(&no_reader));
        if let Some(cause) = broken {
            return Err(Error::failed(NO_READER).cause(cause));
        }
        let path =
            if name == "." { directory.to_string() } else { format!("{}/{name}", directory.trim_end_matches('/')) };
        ended(exit?, &errors, format!("cannot read `{path}` in the guest"))
    }

    pub fn target(&self, path: &str, owner: Option<&str>, stop: &Stop) -> Result<UnpackTarget> {
        let (_, said, errors) = self.ask(["/bin/sh", "-c", TARGET, "sh", path, owner.unwrap_or_default()], stop)?;
        let mut lines = said.lines();
        let kind = kind(lines.next().unwrap_or_default());
        let ids = lines.next().and_then(|line| {
            let mut words = line.split_ascii_whitespace().skip(2);
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        });
        let Some(ids) = ids else {
            let failed = format!("cannot give `{path}` in the guest to `{}`", owner.unwrap_or_default());
            return Err(Error::failed(failed).cause(errors.lines().last().unwrap_or_default()));
        };
        Ok(UnpackTarget { kind, owner: ids, has_gnu_tar: lines.next() == Some("gnu") })
    }

    pub fn unpack_by_tar(&self, archive: &Input, directory: &str, options: &UnpackOptions, stop: &Stop) -> Result<()> {
        let mode = options.makes.map(|mode| format!("{mode:o}")).unwrap_or_default();
        let owners = if options.keeps_owners { "p" } else { "po" };
        let leaves = if options.changes_directories { "" } else { "--no-overwrite-dir" };
        let command = Command::argv(["/bin/sh", "-c", UNPACK, "sh", directory, &mode, owners, leaves]);
        let mut said = Vec::new();
        let (_, no_signals) = mpsc::channel();
        let mut output = |_, bytes: &[u8]| said.extend_from_slice(bytes);
        let exit = self.run_with_input(&command, archive, &no_signals, &mut output, stop)?;
        ended(exit, &said, format!("cannot write `{directory}` in the guest"))
    }
}

impl<T: Transport> Agent<T> {
    pub fn list_by_find(&self, directory: &str, stop: &Stop) -> Result<Vec<GuestEntry>> {
        let failed = format!("cannot list `{directory}` in the guest");
        let said = self.must_print(&Command::argv(["/bin/sh", "-c", LIST, "sh", directory]), &failed, stop)?;
        read_list(&said).ok_or_else(|| Error::failed(failed).cause("it changed meanwhile"))
    }

    pub fn remove_by_rm(&self, directory: &str, paths: &[PathBuf], stop: &Stop) -> Result<()> {
        let failed = format!("cannot delete what is in `{directory}` in the guest");
        let below = |path: &PathBuf| [b"./", path.as_os_str().as_bytes(), b"\0"].concat();
        let stdin = paths.iter().flat_map(below).collect();
        let command = Command::argv(["/bin/sh", "-c", REMOVE, "sh", directory]);
        self.must_print(&Command { stdin, ..command }, &failed, stop).map(drop)
    }

    /// Runs a command that has to succeed; returns its output.
    fn must_print(&self, command: &Command, failed: &str, stop: &Stop) -> Result<Vec<u8>> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut keep = |stream, bytes: &[u8]| match stream {
            Stream::Stdout => stdout.extend_from_slice(bytes),
            Stream::Stderr => stderr.extend_from_slice(bytes),
        };
        match self.run(command, &mut keep, stop)? {
            Exit(0) => Ok(stdout),
            Exit(status) => {
                let said = String::from_utf8_lossy(&stderr).into_owned();
                let why = said.lines().last().map_or_else(|| format!("it ended with status {status}"), str::to_string);
                Err(Error::failed(failed).cause(why))
            }
        }
    }
}

/// Reads names, each ended by a zero, and a line with mode, size and time of each, in the same order.
fn read_list(said: &[u8]) -> Option<Vec<GuestEntry>> {
    const BETWEEN: &[u8] = b"\0/\0";
    let place = said.windows(BETWEEN.len()).position(|window| window == BETWEEN)?;
    let names = said[..place].split(|byte| *byte == 0);
    let mut lines = std::str::from_utf8(&said[place + BETWEEN.len()..]).ok()?.lines();
    let mut entries = Vec::new();
    for name in names {
        let mut numbers = lines.next()?.split(' ');
        let mode = u32::from_str_radix(numbers.next()?, 16).ok()?;
        let (size, modified) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().unwrap_or(0));
        if let Some(path) = name.strip_prefix(b"./") {
            entries.push(GuestEntry { path: OsStr::from_bytes(path).into(), mode, size, modified });
        }
    }
    lines.next().is_none().then_some(entries)
}

fn kind(word: &str) -> PathKind {
    match word.trim() {
        "directory" => PathKind::Directory,
        "file" => PathKind::File,
        _ => PathKind::Missing,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_attributes_are_listed_apart() {
        let said = b".\0./a b\nc\0./d\0/\x0041ed 4096 1\n81a4 3 1700000000\n81a4 0 -5\n";
        let entry = |path: &str, size, modified| GuestEntry { path: path.into(), mode: 0o100_644, size, modified };
        assert_eq!(read_list(said).unwrap(), [entry("a b\nc", 3, 1_700_000_000), entry("d", 0, 0)]);
        assert_eq!(read_list(b".\0/\x0041ed 4096 1\n").unwrap(), []);
        for changed in [&b".\0./a\0/\x0041ed 4096 1\n"[..], b".\0/\x0041ed 4096 1\n81a4 0 0\n", b".\0"] {
            assert_eq!(read_list(changed), None);
        }
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
