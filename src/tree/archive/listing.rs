//! What is in a directory of the host.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Because, Error, Result};
use crate::tree::archive::exclude::Exclude;
use crate::tree::archive::holes;

/// What of its entries is read.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub exclude: Exclude,
    /// Keep the modes as they are. Otherwise they are 0755 for directories and executable files, and 0644 for others, as
    /// in git: the other permission bits differ from host to host.
    pub keeps_modes: bool,
    /// Keep the owners, by their numbers.
    pub keeps_owners: bool,
    /// Leave out devices, sockets and pipes, which are an error otherwise.
    pub skips_special: bool,
    /// Leave the content of files unread; then there is no digest.
    pub skips_content: bool,
}

/// Everything in a directory, sorted by path, without the directory itself.
#[derive(Clone, Debug)]
pub struct Listing {
    pub root: PathBuf,
    pub entries: Vec<Entry>,
    /// The patterns of what was left out.
    pub excluded: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Below the root.
    pub path: PathBuf,
    /// Where it lies below the root, if that is another place.
    pub place: Option<PathBuf>,
    pub kind: Kind,
    pub mode: u32,
    /// The numbers of user and group, if they are kept.
    pub owner: Option<(u32, u32)>,
    /// In seconds since the epoch.
    pub modified: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File {
        size: u64,
        /// BLAKE3; zeros if the content was not read.
        digest: [u8; 32],
        has_holes: bool,
    },
    Link(PathBuf),
    /// Another name of an earlier file.
    HardLink(PathBuf),
}

impl Listing {
    pub fn of(root: &Path, reading: &Reading) -> Result<Self> {
        let mut found = Vec::new();
        let mut directories = vec![PathBuf::new()];
        while let Some(directory) = directories.pop() {
            let place = root.join(&directory);
            let failed = || format!("cannot read `{}`", place.display());
            for entry in std::fs::read_dir(&place).because(failed)? {
                let path = directory.join(entry.because(failed)?.file_name());
                let metadata = root.join(&path).symlink_metadata().because(failed)?;
                if reading.exclude.matches(&path, metadata.is_dir()) {
                    continue;
                }
                if metadata.is_dir() {
                    directories.push(path.clone());
                }
                found.push((path, metadata));
            }
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut names = HashMap::new();
        let mut entries = Vec::with_capacity(found.len());
        for (path, metadata) in found {
            if let Some(kind) = kind(root, &path, &metadata, reading, &mut names)? {
                entries.push(entry(path, kind, &metadata, reading));
            }
        }
        Ok(Self { root: root.to_path_buf(), entries, excluded: reading.exclude.patterns() })
    }

    /// Lists one file, or a link, under a name of its own.
    pub fn of_file(file: &Path, name: &str, reading: &Reading) -> Result<Self> {
        let failed = || format!("cannot read `{}`", file.display());
        let metadata = file.symlink_metadata().because(failed)?;
        let directory = file.parent().unwrap_or(Path::new(""));
        let own = Path::new(file.file_name().unwrap_or_default());
        let kind = kind(directory, own, &metadata, reading, &mut HashMap::new())?;
        let kind = kind.ok_or_else(|| Error::failed(failed()).cause("it is no file"))?;
        let entry = entry(own.to_path_buf(), kind, &metadata, reading);
        let entries = vec![Entry { place: Some(entry.path), path: name.into(), ..entry }];
        Ok(Self { root: directory.to_path_buf(), entries, excluded: Vec::new() })
    }

    /// Returns the digest of everything but times: BLAKE3, in hex.
    pub fn digest(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for entry in &self.entries {
            hasher.update(&entry.identity());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Returns the bytes in its files.
    pub fn size(&self) -> u64 {
        self.entries.iter().map(Entry::size).sum()
    }

    pub fn has_holes(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.kind, Kind::File { has_holes: true, .. }))
    }

    /// Returns a few letters of each entry's digest, by path, to name what changed; nothing for a large directory.
    pub fn marks(&self) -> BTreeMap<String, String> {
        const MOST: usize = 2000;
        const LETTERS: usize = 8;
        let mark = |entry: &Entry| blake3::hash(&entry.identity()).to_hex()[..LETTERS].to_string();
        let marks = self.entries.iter().map(|entry| (entry.path.to_string_lossy().into_owned(), mark(entry)));
        if self.entries.len() > MOST { BTreeMap::new() } else { marks.collect() }
    }
}

impl Entry {
    fn size(&self) -> u64 {
        if let Kind::File { size, .. } = self.kind { size } else { 0 }
    }

    /// What of it decides the effect of a copy; each part has its length, so that no two entries have the same.
    fn identity(&self) -> Vec<u8> {
        let (letter, content) = match &self.kind {
            Kind::Directory => (b'd', Vec::new()),
            Kind::File { digest, .. } => (b'f', digest.to_vec()),
            Kind::Link(target) => (b'l', target.as_os_str().as_bytes().to_vec()),
            Kind::HardLink(of) => (b'h', of.as_os_str().as_bytes().to_vec()),
        };
        // A link has no mode of its own.
        let mode = if letter == b'l' { 0 } else { self.mode };
        let mut identity = vec![letter];
        identity.extend(mode.to_le_bytes());
        if let Some((user, group)) = self.owner {
            identity.extend([user.to_le_bytes(), group.to_le_bytes()].concat());
        }
        for part in [self.path.as_os_str().as_bytes(), &content] {
            identity.extend((part.len() as u64).to_le_bytes());
            identity.extend(part);
        }
        identity
    }
}

fn entry(path: PathBuf, kind: Kind, metadata: &Metadata, reading: &Reading) -> Entry {
    let mode = if reading.keeps_modes { metadata.mode() & 0o7777 } else { usual_mode(metadata) };
    let owner = reading.keeps_owners.then(|| (metadata.uid(), metadata.gid()));
    Entry { path, place: None, kind, mode, owner, modified: metadata.mtime().try_into().unwrap_or(0) }
}

/// 0755 for a directory or an executable file, else 0644: the other permission bits differ from host to host.
pub fn usual_mode(metadata: &Metadata) -> u32 {
    let is_open = metadata.is_dir() || metadata.permissions().mode() & 0o100 != 0;
    if is_open { 0o755 } else { 0o644 }
}

fn kind(
    root: &Path,
    path: &Path,
    metadata: &Metadata,
    reading: &Reading,
    names: &mut HashMap<(u64, u64), PathBuf>,
) -> Result<Option<Kind>> {
    let place = root.join(path);
    let failed = || format!("cannot read `{}`", place.display());
    let file_type = metadata.file_type();
    if file_type.is_dir() {
        return Ok(Some(Kind::Directory));
    }
    if file_type.is_symlink() {
        return std::fs::read_link(&place).because(failed).map(|target| Some(Kind::Link(target)));
    }
    if !file_type.is_file() {
        return if reading.skips_special { Ok(None) } else { Err(special(root, path, &file_type)) };
    }
    if metadata.nlink() > 1 {
        let inode = (metadata.dev(), metadata.ino());
        if let Some(first) = names.get(&inode) {
            return Ok(Some(Kind::HardLink(first.clone())));
        }
        names.insert(inode, path.to_path_buf());
    }
    let file = File::open(&place).because(failed)?;
    let has_holes = holes::parts(&file, metadata.len()).because(failed)?.is_some();
    if reading.skips_content {
        return Ok(Some(Kind::File { size: metadata.len(), digest: [0; 32], has_holes }));
    }
    let mut hasher = blake3::Hasher::new();
    let size = std::io::copy(&mut &file, &mut hasher).because(failed)?;
    Ok(Some(Kind::File { size, digest: *hasher.finalize().as_bytes(), has_holes }))
}

fn special(root: &Path, path: &Path, file_type: &std::fs::FileType) -> Error {
    let what = match file_type {
        it if it.is_socket() => "a socket",
        it if it.is_fifo() => "a named pipe",
        _ => "a device",
    };
    Error::failed(format!("cannot copy `{}`", root.display()))
        .cause(format!("`{}` in it is {what}", path.display()))
        .hint(format!("leave it out: exclude = {{ {:?} }}", format!("/{}", path.display())))
}
