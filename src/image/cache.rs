//! The directory in which images are kept: built ones, downloads, and the checksums of files.

use std::fs::{self, File, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;

use crate::error::{Because, Error, Result};
use crate::event::Events;
use crate::hypervisor::Boot;
use crate::image::content::format::Format;
use crate::image::image::Ready;
use crate::paths;
use crate::stop::Interrupt;

/// How many characters of a digest name a directory.
const SHORT: usize = 12;

/// A cache of images; several processes can use it at once.
#[derive(Clone, Debug)]
pub struct ImageCache {
    root: PathBuf,
    is_read_only: bool,
}

/// Whether an image was built here, downloaded, or made by unpacking and converting such a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CachedKind {
    Built,
    Download,
    Converted,
}

impl std::fmt::Display for CachedKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Built => "built",
            Self::Download => "download",
            Self::Converted => "converted",
        })
    }
}

/// An image in the cache.
#[derive(Clone, Debug, Serialize)]
pub struct CachedImage {
    pub name: String,
    pub digest: String,
    pub kind: CachedKind,
    /// Its disk usage on the host, in bytes.
    pub size: u64,
    /// In seconds since the epoch.
    pub created: u64,
    pub path: PathBuf,
}

/// The record beside an image: `image.json`.
#[derive(Serialize, Deserialize)]
pub(in crate::image) struct Record {
    pub name: String,
    pub digest: String,
    #[serde(default)]
    pub inputs: Value,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    #[serde(default)]
    pub sizes: std::collections::BTreeMap<String, u64>,
    #[serde(default)]
    pub cmdline: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converted: Option<Conversion>,
}

/// The record of a converted disk.
#[derive(Serialize, Deserialize)]
pub(in crate::image) struct Conversion {
    pub format: Format,
    /// The size of the file that it was made from, and the largest size on the way: limits apply to a cached disk too.
    pub from: u64,
    pub largest: u64,
}

impl ImageCache {
    /// Opens the cache in `root`, which is created when something is added.
    pub fn open(root: &Path) -> Self {
        Self { root: root.to_path_buf(), is_read_only: false }
    }

    /// Makes the directories of the cache, before something is added.
    pub(in crate::image) fn make_room(&self) -> Result<()> {
        let directories = [self.images(), self.downloads(), self.converted(), self.digests(), self.work()];
        for directory in directories.into_iter().chain([self.root.join("locks")]) {
            paths::make_passable(&directory)
                .because(|| format!("cannot make `{}`", directory.display()))
                .map_err(|error| error.hint("SNAPTREE_CACHE names another directory for the cache"))?;
        }
        Ok(())
    }

    /// Opens the cache in `root`, which need not exist, for reading only.
    pub fn looking(root: &Path) -> Self {
        Self { root: root.to_path_buf(), is_read_only: true }
    }

    pub(in crate::image) fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    pub(in crate::image) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(in crate::image) fn downloads(&self) -> PathBuf {
        self.root.join("downloads")
    }

    pub(in crate::image) fn converted(&self) -> PathBuf {
        self.root.join("converted")
    }

    pub(in crate::image) fn digests(&self) -> PathBuf {
        self.root.join("digests")
    }

    pub(in crate::image) fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// Returns the directory of a built image.
    pub(in crate::image) fn directory(&self, name: &str, digest: &str) -> PathBuf {
        self.images().join(format!("{name}-{}", short(digest)))
    }

    /// Returns a built image by the digest of its [`Image`](crate::image::Image).
    pub fn lookup(&self, digest: &str) -> Option<Ready> {
        let ending = format!("-{}", short(digest));
        let directories = fs::read_dir(self.images()).ok()?.flatten().map(|entry| entry.path());
        for directory in directories.filter(|path| path.to_string_lossy().ends_with(&ending)) {
            if let Some(record) = read_record(&directory.join("image.json")).filter(|record| record.digest == digest) {
                return ready(&directory, record.cmdline);
            }
        }
        None
    }

    /// Takes the lock under which an image is made; it is released when the file is dropped.
    pub(in crate::image) fn lock(
        &self,
        digest: &str,
        name: &str,
        events: &Events,
        interrupt: &Interrupt,
    ) -> Result<File> {
        const PAUSE: Duration = Duration::from_millis(100);
        let mut is_recorded = false;
        loop {
            if let Some(lock) = self.try_lock(digest)? {
                return Ok(lock);
            }
            if !is_recorded {
                events.note(format!("waiting for another process that makes the image `{name}`"));
                is_recorded = true;
            }
            interrupt.check()?;
            std::thread::sleep(PAUSE);
        }
    }

    fn try_lock(&self, digest: &str) -> Result<Option<File>> {
        self.make_room()?;
        let path = self.root.join("locks").join(short(digest));
        let failed = || format!("cannot lock `{}`", path.display());
        let file = File::create(&path).because(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Error::failed(failed()).cause(error)),
        }
    }

    /// Makes a directory for making an image, under its lock; it is removed when dropped.
    pub(in crate::image) fn workplace(&self, digest: &str) -> Result<TempDir> {
        let prefix = format!("{}-", short(digest));
        // Under the lock, an existing directory of the same image is debris of a killed process.
        for entry in fs::read_dir(self.work()).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                fs::remove_dir_all(entry.path()).because(|| format!("cannot remove `{}`", entry.path().display()))?;
            }
        }
        tempfile::Builder::new()
            .prefix(&prefix)
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in(self.work())
            .because(|| format!("cannot make a directory in `{}`", self.work().display()))
    }

    /// Lists the images in the cache, sorted by name.
    pub fn list(&self) -> Result<Vec<CachedImage>> {
        let mut images = Vec::new();
        for path in entries(&self.images())? {
            if let Some(record) = read_record(&path.join("image.json")) {
                images.push(cached(record, CachedKind::Built, path));
            }
        }
        for (directory, kind) in [(self.downloads(), CachedKind::Download), (self.converted(), CachedKind::Converted)] {
            for path in entries(&directory)?.into_iter().filter(|path| path.extension().is_some_and(|it| it == "json"))
            {
                let files = [path.with_extension(""), path.with_extension("part")];
                if let Some(file) = files.into_iter().find(|file| file.exists())
                    && let Some(record) = read_record(&path)
                {
                    images.push(cached(record, kind, file));
                }
            }
        }
        images.sort_by(|a, b| (&a.name, &a.digest).cmp(&(&b.name, &b.digest)));
        Ok(images)
    }

    /// Finds one image by its name or by the beginning of its digest.
    pub fn find(&self, wanted: &str) -> Result<CachedImage> {
        let mut images = self.list()?;
        let named: Vec<usize> = (0..images.len()).filter(|&i| is_called(&images[i], wanted)).collect();
        match named[..] {
            [one] => Ok(images.swap_remove(one)),
            [] => {
                let names: Vec<&str> = images.iter().map(|image| image.name.as_str()).collect();
                let error = Error::failed(format!("the cache has no image `{wanted}`"));
                Err(match names[..] {
                    [] => error.hint("the cache is empty"),
                    _ => error.hint(format!("it has {}", names.join(", "))),
                })
            }
            _ => {
                let choices: Vec<String> =
                    named.iter().map(|&i| format!("{} ({})", short(&images[i].digest), images[i].name)).collect();
                Err(Error::failed(format!("`{wanted}` names {} images", choices.len()))
                    .hint(format!("use the beginning of a digest: {}", choices.join(", "))))
            }
        }
    }

    /// Takes the lock if no other process is making the image. A child process that is just starting still holds this
    /// process's locks, so the first answer may be wrong.
    fn lock_at_once(&self, digest: &str) -> Result<Option<File>> {
        const TRIES: u32 = 20;
        const PAUSE: Duration = Duration::from_millis(10);
        for _ in 0..TRIES {
            if let Some(lock) = self.try_lock(digest)? {
                return Ok(Some(lock));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(None)
    }

    /// Removes an image that [`ImageCache::find`] found.
    pub fn remove(&self, image: &CachedImage) -> Result<()> {
        let Some(_lock) = self.lock_at_once(&image.digest)? else {
            return Err(Error::failed(format!("image `{}` is being made by another process", image.name))
                .hint("wait until that is done"));
        };
        let failed = || format!("cannot remove `{}`", image.path.display());
        match image.kind {
            CachedKind::Built => fs::remove_dir_all(&image.path).because(failed)?,
            CachedKind::Download | CachedKind::Converted => {
                fs::remove_file(&image.path).because(failed)?;
                fs::remove_file(image.path.with_extension("json")).because(failed)?;
            }
        }
        Ok(())
    }
}

/// Returns the files in a built image's directory, when they are complete.
pub(in crate::image) fn ready(directory: &Path, cmdline: Option<String>) -> Option<Ready> {
    let [disk, kernel, initrd] = ["disk.qcow2", "vmlinuz", "initrd"].map(|name| directory.join(name));
    if !disk.exists() {
        return None;
    }
    let boot =
        (kernel.exists() && initrd.exists()).then(|| Boot { kernel, initrd, cmdline: cmdline.unwrap_or_default() });
    Some(Ready { disk, format: Format::Qcow2, boot, stamp: None })
}

/// Returns the part of a digest, without its algorithm, that names files.
pub(in crate::image) fn short(digest: &str) -> &str {
    let hex = bare(digest);
    hex.get(..SHORT).unwrap_or(hex)
}

fn bare(digest: &str) -> &str {
    digest.split_once(':').map_or(digest, |(_, hex)| hex)
}

pub(in crate::image) fn seconds_now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

fn is_called(image: &CachedImage, wanted: &str) -> bool {
    // Shorter prefixes are more likely typing errors than digests.
    const SHORTEST: usize = 4;
    image.name == wanted
        || image.path.file_name().is_some_and(|name| name == wanted)
        || bare(wanted).len() >= SHORTEST && bare(&image.digest).starts_with(bare(wanted))
}

fn cached(record: Record, kind: CachedKind, path: PathBuf) -> CachedImage {
    let (size, created) = (size_of(&path), record.created);
    CachedImage { name: record.name, digest: record.digest, kind, size, created, path }
}

fn size_of(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.blocks() * 512);
    if path.is_dir() { entries(path).unwrap_or_default().iter().map(|path| size(path)).sum() } else { size(path) }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = || format!("cannot list `{}`", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        entries => entries.because(failed)?,
    };
    entries.map(|entry| entry.map(|entry| entry.path()).because(failed)).collect()
}

pub(in crate::image) fn read_record(path: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
