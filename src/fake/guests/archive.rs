//! Directories of a fake guest as archives.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Builder, EntryType, Header};

use crate::error::{Because, Error, Result};
use crate::fake::guests::guest::{FakeGuest, error_while};
use crate::fake::record::answer::Answer;
use crate::fake::record::bytes::Bytes;
use crate::fake::record::file::{FileKind, FileRecord};
use crate::fake::record::state::{Ram, State};
use crate::hypervisor::{GuestEntry, Input, NO_READER, PathKind, UnpackOptions, UnpackTarget};
use crate::stop::Stop;

/// The time of a file that has none of its own.
const MODIFIED: u64 = 1_700_000_000;
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
/// The first user that is not of the system.
const SOME_USER: u32 = 1000;

impl FakeGuest {
    pub fn kind(&self, path: &str, stop: &Stop) -> Result<PathKind> {
        let what = || format!("looking for `{path}` in the guest");
        self.look(stop, what, |state| {
            let path = normal(path);
            let files = self.files(state);
            match files.get(&path).map(|file| file.kind) {
                Some(FileKind::Directory) => PathKind::Directory,
                Some(FileKind::File | FileKind::Link) => PathKind::File,
                None | Some(FileKind::Removed) if is_above(&files, &path) => PathKind::Directory,
                None | Some(FileKind::Removed) => PathKind::Missing,
            }
        })
    }

    pub fn pack_files(&self, directory: &str, name: &str, archive: &mut dyn Write, stop: &Stop) -> Result<()> {
        let what = || format!("reading `{directory}` in the guest");
        let (top, name) = (normal(directory), normal(name));
        let files = self.look(stop, what, |state| self.files(state))?;
        let packed = || {
            let mut builder = Builder::new(archive);
            let below = files.iter().filter_map(|(path, file)| Some((path.strip_prefix(&top).ok()?, file)));
            for (path, file) in below.filter(|(path, _)| path.starts_with(&name) && *path != Path::new("")) {
                append(&mut builder, path, file)?;
            }
            builder.into_inner()?.flush()
        };
        packed().because(|| NO_READER.to_string())
    }

    /// Knows the numbers of root, and one for all other users that are given by name.
    pub fn target(&self, path: &str, owner: Option<&str>, stop: &Stop) -> Result<UnpackTarget> {
        let number = |name: &str| if name == "root" { 0 } else { name.parse().unwrap_or(SOME_USER) };
        let (user, group) = owner.map_or(("root", "root"), |owner| owner.split_once(':').unwrap_or((owner, owner)));
        let owner = (number(user), number(group));
        Ok(UnpackTarget { kind: self.kind(path, stop)?, owner, has_gnu_tar: true })
    }

    pub fn unpack_files(&self, archive: &Input, to: &str, options: &UnpackOptions, stop: &Stop) -> Result<()> {
        let what = || format!("writing `{to}` in the guest");
        let mut bytes = Vec::new();
        for piece in archive {
            stop.check(what)?;
            bytes.extend(piece?);
        }
        let failed = || format!("cannot write `{to}` in the guest");
        let mut made = read(&bytes, &normal(to), options).because(failed)?;
        if options.makes.is_some() && self.kind(to, stop)? == PathKind::Missing {
            made.insert(normal(to), record(FileKind::Directory, Vec::new(), options.makes, None));
        }
        self.put(made, what)
    }

    pub fn list_files(&self, directory: &str, stop: &Stop) -> Result<Vec<GuestEntry>> {
        let what = || format!("reading `{directory}` in the guest");
        let files = self.look(stop, what, |state| self.files(state))?;
        let top = normal(directory);
        let mut entries = BTreeMap::new();
        for (path, file) in &files {
            let Some(below) = path.strip_prefix(&top).ok().filter(|below| *below != Path::new("")) else { continue };
            let kind = match file.kind {
                FileKind::Directory => DIRECTORY,
                FileKind::Link => LINK,
                FileKind::File | FileKind::Removed => FILE,
            };
            let (size, modified) = (file.content.0.len() as u64, file.modified.unwrap_or(MODIFIED));
            let entry = |path: &Path, mode, size| GuestEntry { path: path.to_path_buf(), mode, size, modified };
            // A file that was written alone has directories all the same.
            for above in below.ancestors().skip(1).filter(|above| *above != Path::new("")) {
                entries.entry(above.to_path_buf()).or_insert_with(|| entry(above, DIRECTORY | 0o755, 0));
            }
            entries.insert(below.to_path_buf(), entry(below, kind | mode(file), size));
        }
        Ok(entries.into_values().collect())
    }

    pub fn remove_files(&self, directory: &str, paths: &[PathBuf], stop: &Stop) -> Result<()> {
        let what = || format!("deleting what is in `{directory}` in the guest");
        let files = self.look(stop, what, |state| self.files(state))?;
        let top = normal(directory);
        let is_removed = |path: &Path| paths.iter().any(|removed| path.starts_with(top.join(removed)));
        let gone = files.into_keys().filter(|path| is_removed(path));
        self.put(gone.map(|path| (path, record(FileKind::Removed, Vec::new(), None, None))).collect(), what)
    }

    /// Keeps files, each on its disk or in the RAM.
    pub fn put(&self, made: BTreeMap<PathBuf, FileRecord>, what: impl Fn() -> String) -> Result<()> {
        self.store.change(|state| {
            for (path, file) in made {
                let path = path.to_string_lossy().into_owned();
                let record = state.running(&self.domain).map_err(|error| error_while(&what(), error))?;
                let disk = record.now().disk_of(&path);
                if Ram::holds(&path) {
                    state.record_mut(&self.domain)?.ram.0.insert(path, file);
                    continue;
                }
                let disk = disk.ok_or_else(|| Error::failed(format!("domain `{}` has no disk", self.domain)))?;
                state.write_file(&disk, &path, file);
            }
            Ok(())
        })
    }

    /// Lists every file that this guest sees.
    pub fn files(&self, state: &State) -> BTreeMap<PathBuf, FileRecord> {
        let mut files = BTreeMap::new();
        for answer in self.answers.iter().chain(&state.answers) {
            if let Answer::File { path, content } = answer {
                let file = record(FileKind::File, content.clone().into_bytes(), None, None);
                files.entry(PathBuf::from(path)).or_insert(file);
            }
        }
        let Some(domain) = state.domains.get(&self.domain) else { return files };
        let document = domain.now();
        let disks = document.disks.values().filter_map(|disk| disk.place());
        let of_disk = |disk: &Path| {
            let files = state.visible(disk).into_iter();
            files.filter(|(path, _)| document.disk_of(path).as_deref() == Some(disk)).collect::<Vec<_>>()
        };
        let all = disks.flat_map(of_disk).chain(domain.ram.0.clone());
        files.extend(all.map(|(path, file)| (PathBuf::from(path), file)));
        files.retain(|_, file| file.kind != FileKind::Removed);
        files
    }
}

fn is_above(files: &BTreeMap<PathBuf, FileRecord>, path: &Path) -> bool {
    let is_below = |other: &PathBuf| other.starts_with(path) && other != path;
    path == Path::new("/") || files.keys().any(is_below)
}

/// Returns a path without its empty parts and those that say `.`.
fn normal(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| *part != Component::CurDir).collect()
}

fn record(kind: FileKind, content: Vec<u8>, mode: Option<u32>, owner: Option<String>) -> FileRecord {
    FileRecord { kind, content: Bytes(content), mode, owner, modified: None }
}

fn mode(file: &FileRecord) -> u32 {
    file.mode.unwrap_or(if file.kind == FileKind::Directory { 0o755 } else { 0o644 })
}

fn append<W: Write>(builder: &mut Builder<W>, path: &Path, file: &FileRecord) -> io::Result<()> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let mut header = Header::new_gnu();
    let numbers = file.owner.as_deref().and_then(|owner| owner.split_once(':'));
    let [user, group] = numbers.map_or([0, 0], |(user, group)| [user, group].map(|it| it.parse().unwrap_or(0)));
    header.set_uid(user);
    header.set_gid(group);
    header.set_mtime(file.modified.unwrap_or(MODIFIED));
    header.set_mode(mode(file));
    header.set_size(0);
    match file.kind {
        FileKind::Directory => {
            header.set_entry_type(EntryType::Directory);
            builder.append_data(&mut header, path, io::empty())
        }
        FileKind::Link => {
            header.set_entry_type(EntryType::Symlink);
            builder.append_link(&mut header, path, OsStr::from_bytes(&file.content.0))
        }
        FileKind::File => {
            header.set_size(file.content.0.len() as u64);
            builder.append_data(&mut header, path, &file.content.0[..])
        }
        FileKind::Removed => Ok(()),
    }
}

/// Reads what an archive would make. A hard link becomes a file with the same content.
fn read(bytes: &[u8], to: &Path, options: &UnpackOptions) -> io::Result<BTreeMap<PathBuf, FileRecord>> {
    let mut made = BTreeMap::new();
    for entry in Archive::new(bytes).entries()? {
        let mut entry = entry?;
        let path = to.join(normal(&entry.path()?.to_string_lossy()));
        let header = entry.header();
        let (kind, mode, modified) = (header.entry_type(), header.mode()?, header.mtime()?);
        let ids = (header.uid()?, header.gid()?);
        let owner = (options.keeps_owners && ids != (0, 0)).then(|| format!("{}:{}", ids.0, ids.1));
        let link = entry.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default();
        let file = if kind.is_dir() {
            record(FileKind::Directory, Vec::new(), Some(mode), owner)
        } else if kind.is_symlink() {
            record(FileKind::Link, link, None, owner)
        } else if kind.is_hard_link() {
            let first = made.get(&to.join(normal(&String::from_utf8_lossy(&link))));
            first.cloned().ok_or_else(|| io::Error::other("a hard link comes before its file"))?
        } else {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            record(FileKind::File, content, Some(mode), owner)
        };
        if path != to {
            made.insert(path, FileRecord { modified: Some(modified), ..file });
        }
    }
    Ok(made)
}
