//! Disk images, made by `qemu-img`.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::error::{Because, Error, Result};
use crate::hypervisor::Image;

/// What to do about a chain that cannot be read.
pub const SEE_CHAIN: &str =
    "`qemu-img info --backing-chain` shows it, `qemu-img rebase -u` gives an image another backing file";

/// Copies an image into a qcow2 file of its own, for its owner only.
pub fn copy(from: &Image, to: &Path) -> Result<()> {
    let failed = || format!("cannot copy the image `{}`", from.file.display());
    let file = std::path::absolute(&from.file).because(failed)?;
    let arguments = ["convert", "-q", "-O", "qcow2", "-f", &from.format].map(OsStr::new);
    run(&[&arguments[..], &[file.as_os_str(), to.as_os_str()]].concat(), &failed)?;
    restrict(to, &failed)
}

/// Creates an empty qcow2 `overlay` on an image, for its owner only.
pub fn create_overlay(overlay: &Path, backing: &Image) -> Result<()> {
    let failed = || format!("cannot create the overlay `{}`", overlay.display());
    let arguments = ["create", "-q", "-f", "qcow2", "-F", &backing.format, "-b"].map(OsStr::new);
    run(&[&arguments[..], &[backing.file.as_os_str(), overlay.as_os_str()]].concat(), &failed)?;
    restrict(overlay, &failed)
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

/// Lists the backing images of an image, also while a guest uses it.
pub fn backing_chain(image: &Image) -> Result<Vec<Image>> {
    #[derive(Deserialize)]
    struct Info {
        filename: PathBuf,
        format: String,
    }
    let failed = || format!("cannot read the backing chain of `{}`", image.file.display());
    let file = std::path::absolute(&image.file).because(failed)?;
    let arguments = ["info", "-U", "--backing-chain", "--output=json", "-f", &image.format].map(OsStr::new);
    let json = run(&[&arguments[..], &[file.as_os_str()]].concat(), &failed).map_err(|error| match error.hint {
        None => error.hint(SEE_CHAIN),
        Some(_) => error,
    })?;
    let chain: Vec<Info> = serde_json::from_slice(&json).because(failed)?;
    Ok(chain.into_iter().skip(1).map(|info| Image::new(info.filename, info.format)).collect())
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
    let mut qemu_img = Command::new("qemu-img");
    qemu_img.args(arguments).env("LC_ALL", "C").stdin(Stdio::null());
    let output = qemu_img.output().map_err(|error| match error.kind() {
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_internal_snapshot_is_named_whatever_its_name_is() {
        assert_eq!(internal("a,b=c"), "snapshot.name=a,,b=c");
    }
}
