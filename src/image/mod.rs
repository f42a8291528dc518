//! Disk images: where they come from, and the cache that keeps them.
//!
//! An [`Image`] is a description. Nothing is built or downloaded before [`Image::ready`] or a [`Workshop`] is asked for.

mod cache;
mod download;
mod file;
mod progress;
mod qcow2;
mod workshop;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

pub use cache::{CachedImage, CachedKind, Claim, ImageCache};
pub use qcow2::Format;
pub use workshop::Workshop;

use crate::error::{Error, Result};
use crate::hypervisor::Boot;
use crate::stop::Interrupt;
use crate::tree::Events;

/// Changes when built images are made in a way that the old ones do not fit any more.
const SCHEMA: u32 = 1;

/// A disk image that a machine can start from.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// What people read.
    pub label: String,
    /// What the image is, independent of where it lies; part of cache keys.
    pub digest: String,
    pub source: Source,
}

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A file of the host, with the checksum that it is said to have.
    File {
        path: PathBuf,
        sha256: Option<String>,
    },
    Url {
        url: String,
        sha256: String,
    },
    /// A directory of the cache, made in a [`Workshop`] by a recipe from `inputs`.
    Built {
        name: String,
        inputs: Value,
        cmdline: Option<String>,
    },
}

/// An image whose files are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// A qcow2 or a raw file; [`Format::of`] tells which.
    pub disk: PathBuf,
    /// The kernel that QEMU loads itself, for images without a boot loader.
    pub boot: Option<Boot>,
}

impl Image {
    /// Describes a file of the host. Its content is hashed unless `sha256` says what it is or it was hashed before.
    pub fn file(cache: &ImageCache, path: &Path, sha256: Option<&str>, interrupt: &Interrupt) -> Result<Self> {
        let sha256 = sha256.map(parse_sha256).transpose()?;
        let path = file::check(path)?;
        let digest = match &sha256 {
            Some(sha256) => sha256.clone(),
            None => file::sha256(cache, &path, interrupt)?,
        };
        let label = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { label, digest: format!("sha256:{digest}"), source: Source::File { path, sha256 } })
    }

    /// Describes a file to download; `sha256` is what it must turn out to be.
    pub fn url(url: &str, sha256: &str) -> Result<Self> {
        let sha256 = parse_sha256(sha256)?;
        let label = download::label(url)?;
        let source = Source::Url { url: url.to_string(), sha256: sha256.clone() };
        Ok(Self { label, digest: format!("sha256:{sha256}"), source })
    }

    /// Describes an image that a recipe builds; equal names, inputs and command lines are the same image.
    pub fn built(name: &str, inputs: Value, cmdline: Option<&str>) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(plain) || name.len() > 100 {
            return Err(Error::usage(format!("{name:?} cannot name an image"))
                .hint("use up to 100 letters, digits, `_`, `.` and `-`, a letter or a digit first"));
        }
        let identity = json!({ "schema": SCHEMA, "name": name, "inputs": inputs, "cmdline": cmdline });
        let hash = blake3::hash(canonical(&identity).as_bytes()).to_hex();
        Ok(Self {
            label: name.to_string(),
            digest: format!("blake3:{hash}"),
            source: Source::Built { name: name.to_string(), inputs, cmdline: cmdline.map(str::to_string) },
        })
    }

    /// Returns the image's files: checks a file, downloads a URL, and looks a built image up.
    ///
    /// A built image that is not in the cache is an error here: [`ImageCache::claim`] is the way to build it.
    pub fn ready(&self, cache: &ImageCache, events: &Events, interrupt: &Interrupt) -> Result<Ready> {
        match &self.source {
            Source::File { path, sha256 } => {
                let path = file::check(path)?;
                if let Some(expected) = sha256 {
                    file::verify(&path, expected, &file::sha256(cache, &path, interrupt)?)?;
                }
                qcow2::check(&path)?;
                Ok(Ready { disk: path, boot: None })
            }
            Source::Url { url, sha256 } => {
                let disk = download::fetch(cache, &self.label, url, sha256, events, interrupt)?;
                qcow2::check(&disk)?;
                Ok(Ready { disk, boot: None })
            }
            Source::Built { name, .. } => {
                cache.lookup(&self.digest).ok_or_else(|| Error::failed(format!("image `{name}` is not built")))
            }
        }
    }
}

fn parse_sha256(text: &str) -> Result<String> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Error::usage(format!("`{text}` is not a SHA-256 checksum"))
        .cause("it must be 64 hexadecimal digits")
        .hint("`sha256sum FILE` prints it"))
}

/// Writes JSON in the one form that equal values share: object keys sorted, no spaces.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let pairs: Vec<String> =
                keys.into_iter().map(|key| format!("{}:{}", json!(key), canonical(&map[key]))).collect();
            format!("{{{}}}", pairs.join(","))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(",")),
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_built_image_is_its_name_inputs_and_command_line() {
        let digest = |name, inputs, cmdline| Image::built(name, inputs, cmdline).unwrap().digest;
        let first = digest("tiny", json!({ "b": [1, "x"], "a": "y" }), Some("quiet"));
        assert!(first.starts_with("blake3:"));
        assert_eq!(first, digest("tiny", serde_json::from_str(r#"{"a":"y","b":[1,"x"]}"#).unwrap(), Some("quiet")));
        assert_ne!(first, digest("tiny2", json!({ "b": [1, "x"], "a": "y" }), Some("quiet")));
        assert_ne!(first, digest("tiny", json!({ "b": ["x", 1], "a": "y" }), Some("quiet")));
        assert_ne!(first, digest("tiny", json!({ "b": [1, "x"], "a": "y" }), None));
    }

    #[test]
    fn a_name_that_could_leave_the_cache_is_refused() {
        for name in ["", "../x", "a/b", ".hidden", "-x", "a b"] {
            assert!(Image::built(name, json!({}), None).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_checksum_has_64_hexadecimal_digits() {
        let sum = "AB".repeat(32);
        assert_eq!(Image::url("https://host/x/disk.qcow2?y=1", &sum).unwrap().label, "disk.qcow2");
        assert_eq!(Image::url("https://host/", &sum).unwrap().digest, format!("sha256:{}", "ab".repeat(32)));
        for wrong in ["", "abc", &"g".repeat(64), &"a".repeat(65)] {
            let error = Image::url("https://host/x", wrong).unwrap_err();
            assert!(error.to_string().contains("64 hexadecimal digits"), "{error}");
        }
    }

    #[test]
    fn only_http_is_downloaded() {
        let error = Image::url("file:///tmp/x.qcow2", &"a".repeat(64)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot download `file:///tmp/x.qcow2`: only http and https are supported\n\
             hint: a file of this host is `image.file(\"/tmp/x.qcow2\")`"
        );
    }
}
