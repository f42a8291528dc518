//! Images from the host or the network, and the files of any image.

use std::path::Path;

use crate::error::{Error, Result};
use crate::event::Events;
use crate::image::cache::ImageCache;
use crate::image::content::format::Format;
use crate::image::content::stamp::FileStamp;
use crate::image::converted::Given;
use crate::image::image::{Image, Reading, Ready, Source};
use crate::image::{download, file};
use crate::stop::Interrupt;

impl Image {
    /// Describes a file of the host. Its content is hashed unless `sha256` is given or it was hashed before.
    pub fn file(
        cache: &ImageCache,
        path: &Path,
        sha256: Option<&str>,
        reading: Reading,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let claimed = sha256.map(parse_sha256).transpose()?;
        let is_claimed = claimed.is_some();
        let path = file::check(path)?;
        let sha256 = claimed.map_or_else(|| file::sha256(cache, &path, interrupt), Ok)?;
        let label = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let digest = digest(&sha256, reading.format == Some(Format::Raw) && !file::is_raw(&path));
        Ok(Self { label, digest, source: Source::File { path, sha256, is_claimed, reading } })
    }

    /// Describes a file to download, which must have the checksum `sha256`.
    pub fn url(url: &str, sha256: &str, reading: Reading) -> Result<Self> {
        let sha256 = parse_sha256(sha256)?;
        let label = download::label(url)?;
        // The format is not known before the download, and the digest must not change after it.
        let digest = digest(&sha256, reading.format == Some(Format::Raw));
        Ok(Self { label, digest, source: Source::Url { url: url.to_string(), sha256, reading } })
    }

    /// Returns the image's files: checks a file, downloads a URL, or looks up a built image.
    ///
    /// A built image that is not in the cache is an error here: [`ImageCache::claim`] is the way to build it.
    pub fn ready(&self, cache: &ImageCache, events: &Events, interrupt: &Interrupt) -> Result<Ready> {
        match &self.source {
            Source::File { path, sha256, is_claimed, reading } => {
                let path = file::check(path)?;
                let actual = || file::sha256(cache, &path, interrupt);
                let stamp = FileStamp::of(&path)?;
                match is_claimed {
                    true => file::verify(&path, sha256, &actual()?)?,
                    false => file::verify_unchanged(&path, sha256, &actual()?)?,
                }
                let given = Given { label: &self.label, sha256, reading, events, interrupt };
                let mut ready = given.ready(cache, &path, &|| file::verify_unchanged(&path, sha256, &actual()?))?;
                ready.stamp = (ready.disk == path).then_some(stamp);
                Ok(ready)
            }
            Source::Url { url, sha256, reading } => {
                let given = Given { label: &self.label, sha256, reading, events, interrupt };
                if let Some(ready) = given.lookup(cache)? {
                    return Ok(ready);
                }
                let file = download::fetch(cache, &self.label, url, sha256, events, interrupt)?;
                given.ready(cache, &file, &|| Ok(()))
            }
            Source::Built { name, .. } => {
                cache.lookup(&self.digest).ok_or_else(|| Error::failed(format!("image `{name}` is not built")))
            }
        }
    }
}

/// Identifies a file by its content, and by how it is read if that differs from what the content suggests.
fn digest(sha256: &str, is_raw_anyhow: bool) -> String {
    format!("sha256:{sha256}{}", if is_raw_anyhow { "+raw" } else { "" })
}

fn parse_sha256(text: &str) -> Result<String> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Error::usage(format!("`{text}` is not a SHA-256 checksum"))
        .cause("it must be 64 hexadecimal digits")
        .hint("`sha256sum FILE` prints it"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn url(url: &str, sha256: &str) -> Result<Image> {
        Image::url(url, sha256, Reading::default())
    }

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
        assert_eq!(url("https://host/x/disk.qcow2?y=1", &sum).unwrap().label, "disk.qcow2");
        assert_eq!(url("https://host/", &sum).unwrap().digest, format!("sha256:{}", "ab".repeat(32)));
        for wrong in ["", "abc", &"g".repeat(64), &"a".repeat(65)] {
            let error = url("https://host/x", wrong).unwrap_err();
            assert!(error.to_string().contains("64 hexadecimal digits"), "{error}");
        }
    }

    #[test]
    fn only_http_is_downloaded() {
        let error = url("file:///tmp/x.qcow2", &"a".repeat(64)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot download `file:///tmp/x.qcow2`: only http and https are supported\n\
             hint: a file of this host is `image.file(\"/tmp/x.qcow2\")`"
        );
    }
}
