//! Files of the host as images, and the cache of their checksums.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Because, Error, Result};
use crate::image::cache::ImageCache;
use crate::image::content::format::Format;
use crate::image::content::kind::Kind;
use crate::image::content::stamp::{FileStamp, changed};
use crate::image::converted;
use crate::image::unwrap::unpack;
use crate::stop::Interrupt;

/// A checksum, and the file's metadata when it was computed.
#[derive(Serialize, Deserialize)]
struct Remembered {
    #[serde(flatten)]
    stamp: FileStamp,
    sha256: String,
}

/// Returns the canonical path of a regular, readable file.
pub fn check(path: &Path) -> Result<PathBuf> {
    let refuse =
        |cause: &dyn std::fmt::Display| Error::failed(format!("cannot use image `{}`", path.display())).cause(cause);
    let canonical = match path.canonicalize() {
        Ok(canonical) => canonical,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let here = std::env::current_dir().unwrap_or_default();
            let hint = if path.is_relative() {
                format!("the path is taken relative to `{}`", here.display())
            } else {
                "check the path".to_string()
            };
            return Err(refuse(&"there is no such file").hint(hint));
        }
        Err(error) => return Err(refuse(&error)),
    };
    let metadata = fs::metadata(&canonical).map_err(|error| refuse(&error))?;
    if metadata.is_dir() {
        return Err(refuse(&"it is a directory").hint("name the disk image inside it"));
    }
    if !metadata.is_file() {
        return Err(refuse(&"it is not a regular file").hint("copy the disk into a file with qemu-img convert"));
    }
    File::open(&canonical)
        .map_err(|error| refuse(&error).hint("make the file readable for the user who runs snaptree"))?;
    Ok(canonical)
}

/// Fails if a file does not have the expected checksum.
pub fn verify(path: &Path, expected: &str, actual: &str) -> Result<()> {
    if expected == actual {
        return Ok(());
    }
    Err(Error::failed(format!("image `{}` has the wrong checksum", path.display()))
        .cause(format!("expected sha256 {expected}, found {actual}"))
        .hint("if the file is the right one, put the found checksum into the script"))
}

/// Fails if a file has changed.
pub fn verify_unchanged(path: &Path, before: &str, now: &str) -> Result<()> {
    if before == now { Ok(()) } else { Err(changed(path)) }
}

/// Whether the content of a file shows that the disk in it is raw, however it is compressed.
pub fn is_raw(path: &Path) -> bool {
    let kind = File::open(path).and_then(|file| unpack::peek(&file, converted::DEEPEST));
    matches!(kind, Ok(Kind::Disk(Format::Raw) | Kind::Unknown))
}

/// Returns the SHA-256 of a file, from the cache if the file has not changed since it was last computed.
pub fn sha256(cache: &ImageCache, path: &Path, interrupt: &Interrupt) -> Result<String> {
    let before = FileStamp::of(path)?;
    let memory =
        cache.digests().join(format!("{}.json", &blake3::hash(path.as_os_str().as_encoded_bytes()).to_hex()[..32]));
    let remembered = fs::read(&memory).ok().and_then(|text| serde_json::from_slice::<Remembered>(&text).ok());
    if let Some(remembered) = remembered.filter(|remembered| remembered.stamp == before) {
        return Ok(remembered.sha256);
    }
    let sha256 = hash(path, interrupt)?;
    let stamp = FileStamp::of(path)?;
    // A file that changed while it was read has no checksum worth keeping.
    if !cache.is_read_only() && stamp.has_content_of(&before) {
        remember(cache, &memory, &Remembered { stamp, sha256: sha256.clone() });
    }
    Ok(sha256)
}

/// Hashes the whole file.
pub fn hash(path: &Path, interrupt: &Interrupt) -> Result<String> {
    const CHUNK: usize = 1 << 20;
    let failed = || format!("cannot read the image `{}`", path.display());
    let mut file = File::open(path).because(failed)?;
    let (mut hasher, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        interrupt.check()?;
        match file.read(&mut chunk).because(failed)? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            size => hasher.update(&chunk[..size]),
        }
    }
}

/// Stores a checksum. Failing to store it is not an error: it will be computed again next time.
fn remember(cache: &ImageCache, memory: &Path, remembered: &Remembered) {
    let Ok(text) = serde_json::to_vec(remembered) else { return };
    if cache.make_room().is_err() {
        return;
    }
    let written = tempfile::NamedTempFile::new_in(cache.digests())
        .and_then(|file| fs::write(file.path(), text).map(|()| file))
        .map(|file| file.persist(memory));
    drop(written);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Events;
    use crate::image::image::{Image, Reading, Ready};

    /// A disk of two sectors without anything on it, and its checksum.
    const BLANK: [u8; 1024] = [0; 1024];
    const SUM: &str = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

    fn cache() -> (tempfile::TempDir, ImageCache) {
        let directory = tempfile::tempdir().unwrap();
        let cache = ImageCache::open(&directory.path().join("cache"));
        (directory, cache)
    }

    #[test]
    fn a_file_is_used_where_it_lies_and_hashed_once() {
        let (directory, cache) = cache();
        let path = directory.path().join("disk.raw");
        fs::write(&path, BLANK).unwrap();
        let interrupt = Interrupt::default();
        let image = Image::file(&cache, &path, None, Reading::default(), &interrupt).unwrap();
        assert_eq!((image.label.as_str(), image.digest), ("disk.raw", format!("sha256:{SUM}")));
        // Hashing reads; an interrupt stops it at once. The remembered checksum needs no reading.
        interrupt.raise();
        Image::file(&cache, &path, None, Reading::default(), &interrupt).unwrap();
        fs::write(&path, [0; 1536]).unwrap();
        assert!(Image::file(&cache, &path, None, Reading::default(), &interrupt).is_err());
    }

    #[test]
    fn a_wrong_checksum_names_both() {
        let (directory, cache) = cache();
        let (path, interrupt) = (directory.path().join("disk.raw"), Interrupt::default());
        fs::write(&path, BLANK).unwrap();
        let ready = |sha256: &str| {
            Image::file(&cache, &path, Some(sha256), Reading::default(), &interrupt).unwrap().ready(
                &cache,
                &Events::none(),
                &interrupt,
            )
        };
        let disk = path.canonicalize().unwrap();
        let stamp = Some(FileStamp::of(&disk).unwrap());
        assert_eq!(ready(&SUM.to_uppercase()).unwrap(), Ready { disk, format: Format::Raw, boot: None, stamp });
        let error = ready(&"0".repeat(64)).unwrap_err().to_string();
        assert!(error.contains(&format!("expected sha256 {}, found {SUM}", "0".repeat(64))), "{error}");
    }

    #[test]
    fn what_is_no_file_is_refused_with_the_reason() {
        let (directory, cache) = cache();
        let refused = |path: &Path| {
            Image::file(&cache, path, None, Reading::default(), &Interrupt::default()).unwrap_err().causes.remove(0)
        };
        assert_eq!(refused(&directory.path().join("none")), "there is no such file");
        assert_eq!(refused(directory.path()), "it is a directory");
        assert_eq!(refused(Path::new("/dev/null")), "it is not a regular file");
    }
}
