//! The description of an image, before any of its files exist.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::hypervisor::Boot;
use crate::image::content::format::Format;
use crate::image::content::stamp::FileStamp;

/// Raised when images are built in a way that makes existing ones unusable.
const SCHEMA: u32 = 1;

/// A disk image that a machine can start from.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The name for display.
    pub label: String,
    /// The image's identity, independent of its location; part of cache keys.
    pub digest: String,
    pub source: Source,
}

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A file of the host, with the checksum that it had, or that the script gives.
    File {
        path: PathBuf,
        sha256: String,
        is_claimed: bool,
        reading: Reading,
    },
    Url {
        url: String,
        sha256: String,
        reading: Reading,
    },
    /// A directory of the cache, made in a `Workshop` by a recipe from `inputs`.
    Built {
        name: String,
        inputs: Value,
        cmdline: Option<String>,
    },
}

/// How to read a file that snaptree did not make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The format of the disk in it, overriding the detected one.
    pub format: Option<Format>,
    /// The limit on its unpacked size, in bytes.
    pub max_size: Option<u64>,
}

/// An image whose files exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    pub disk: PathBuf,
    /// Raw or qcow2.
    pub format: Format,
    /// The kernel that QEMU loads itself, for images without a boot loader.
    pub boot: Option<Boot>,
    /// The metadata of a user's file that is used in place.
    pub stamp: Option<FileStamp>,
}

impl Ready {
    /// Fails if the disk has changed: called after it was copied.
    pub fn check_unchanged(&self) -> Result<()> {
        self.stamp.as_ref().map_or(Ok(()), FileStamp::check)
    }
}

impl Image {
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
}

/// Writes canonical JSON: object keys sorted, no spaces.
pub fn canonical(value: &Value) -> String {
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
