//! Disk images, made by `qemu-img`.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::error::{Because, Error, Result};

/// Copies an image into a qcow2 file of its own, for its owner only.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = || format!("cannot copy the image `{}`", from.display());
    let from = std::path::absolute(from).because(failed)?;
    let format = format_of(&from, &failed)?;
    let arguments = ["convert", "-q", "-O", "qcow2", "-f", format].map(OsStr::new);
    run(&[&arguments[..], &[from.as_os_str(), to.as_os_str()]].concat(), &failed)?;
    restrict(to, &failed)
}

/// Copies the disk as an internal snapshot holds it into a qcow2 file of its own, for its owner only; also while a guest
/// uses the image.
pub fn copy_internal(image: &Path, snapshot: &str, to: &Path) -> Result<()> {
    let failed = || format!("cannot copy the snapshot `{snapshot}` out of the image `{}`", image.display());
    let image = std::path::absolute(image).because(failed)?;
    let snapshot = internal(snapshot);
    let arguments = ["convert", "-q", "-U", "-f", "qcow2", "-O", "qcow2", "-l", &snapshot].map(OsStr::new);
    run(&[&arguments[..], &[image.as_os_str(), to.as_os_str()]].concat(), &failed)?;
    restrict(to, &failed)
}

/// Names an internal snapshot. A bare name would also be taken for an id.
fn internal(snapshot: &str) -> String {
    format!("snapshot.name={}", snapshot.replace(',', ",,"))
}

/// Creates an empty overlay on an image of this format, for its owner only.
pub fn create_overlay(overlay: &Path, backing: &Path, format: &str) -> Result<()> {
    let failed = || format!("cannot create the overlay `{}`", overlay.display());
    let arguments = ["create", "-q", "-f", "qcow2", "-F", format, "-b"].map(OsStr::new);
    run(&[&arguments[..], &[backing.as_os_str(), overlay.as_os_str()]].concat(), &failed)?;
    restrict(overlay, &failed)
}

/// Copies what an image stands on into it.
pub fn flatten(image: &Path) -> Result<()> {
    let failed = || format!("cannot copy what the image `{}` stands on into it", image.display());
    let image = std::path::absolute(image).because(failed)?;
    let arguments = ["rebase", "-q", "-f", "qcow2", "-b", ""].map(OsStr::new);
    run(&[&arguments[..], &[image.as_os_str()]].concat(), &failed).map(|_| ())
}

/// Makes an image larger for the guest; a smaller size is refused.
pub fn resize(image: &Path, size: u64) -> Result<()> {
    let failed = || format!("cannot give the disk {}", bytesize::ByteSize(size).display().iec());
    let size = size.to_string();
    let arguments = ["resize", "-q", "-f", "qcow2"].map(OsStr::new);
    match run(&[&arguments[..], &[image.as_os_str(), size.as_ref()]].concat(), &failed) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.hint("the option `disk` can make a disk larger than its image, not smaller")),
    }
}

/// Lists the files that an image stands on, also while a guest uses it.
pub fn backing_chain(image: &Path) -> Result<Vec<PathBuf>> {
    #[derive(Deserialize)]
    struct Image {
        filename: PathBuf,
    }
    let failed = || format!("cannot read the backing chain of `{}`", image.display());
    let image = std::path::absolute(image).because(failed)?;
    let arguments = ["info", "-U", "--backing-chain", "--output=json"].map(OsStr::new);
    let json = run(&[&arguments[..], &[image.as_os_str()]].concat(), &failed)?;
    let chain: Vec<Image> = serde_json::from_slice(&json).because(failed)?;
    Ok(chain.into_iter().skip(1).map(|image| image.filename).collect())
}

/// Fails when somebody writes to an image.
pub fn unused(image: &Path) -> Result<()> {
    let failed = || format!("cannot change the image `{}`", image.display());
    let image = std::path::absolute(image).because(failed)?;
    run(&[&["info", "-f", "qcow2"].map(OsStr::new)[..], &[image.as_os_str()]].concat(), &failed).map(drop)
}

fn restrict(image: &Path, failed: &impl Fn() -> String) -> Result<()> {
    fs::set_permissions(image, Permissions::from_mode(0o600)).because(failed)
}

/// Runs qemu-img and returns what it prints.
fn run(arguments: &[&OsStr], failed: &impl Fn() -> String) -> Result<Vec<u8>> {
    let output =
        Command::new("qemu-img").args(arguments).stdin(Stdio::null()).output().map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::failed(failed())
                .cause("there is no `qemu-img` on the path")
                .hint("install it: Debian's package is `qemu-utils`"),
            _ => Error::failed(failed()).cause(error),
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let why = said.lines().find(|line| !line.contains("warning: ")).unwrap_or("qemu-img says no reason");
        return Err(Error::failed(failed()).cause(why.trim_start_matches("qemu-img: ")));
    }
    Ok(output.stdout)
}

fn format_of(image: &Path, failed: &impl Fn() -> String) -> Result<&'static str> {
    format(image).map_err(|error| Error::failed(failed()).cause(format!("`{}`", image.display())).cause(error))
}

/// Tells qcow2 from raw by the first bytes.
fn format(image: &Path) -> std::io::Result<&'static str> {
    let mut magic = Vec::new();
    File::open(image)?.take(4).read_to_end(&mut magic)?;
    Ok(if magic == *b"QFI\xfb" { "qcow2" } else { "raw" })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_told_by_the_magic() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        fs::write(&image, b"QFI\xfb\0\0\0\x03").unwrap();
        assert_eq!(format(&image).unwrap(), "qcow2");
        fs::write(&image, b"QF").unwrap();
        assert_eq!(format(&image).unwrap(), "raw");
    }

    #[test]
    fn an_internal_snapshot_is_named_whatever_its_name_is() {
        assert_eq!(internal("a,b=c"), "snapshot.name=a,,b=c");
    }
}
