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

/// What to do about an unreadable chain.
pub const SEE_CHAIN: &str =
    "`qemu-img info --backing-chain` shows it, `qemu-img rebase -u` gives an image another backing file";

/// Creates an empty qcow2 `overlay` on an image, for its owner only.
pub fn create_overlay(overlay: &Path, backing: &Image) -> Result<()> {
    let failed = || format!("cannot create the overlay `{}`", overlay.display());
    let arguments = ["create", "-q", "-f", "qcow2", "-F", &backing.format, "-b"].map(OsStr::new);
    run(&[&arguments[..], &[backing.file.as_os_str(), overlay.as_os_str()]].concat(), &failed)?;
    restrict(overlay, &failed)
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
    #[serde(rename_all = "kebab-case")]
    struct Info {
        filename: PathBuf,
        format: String,
        backing_filename: Option<String>,
        backing_filename_format: Option<String>,
    }
    let failed = || format!("cannot read the backing chain of `{}`", image.file.display());
    let file = std::path::absolute(&image.file).because(failed)?;
    let arguments = ["info", "-U", "--backing-chain", "--output=json", "-f", &image.format].map(OsStr::new);
    let json = run(&[&arguments[..], &[file.as_os_str()]].concat(), &failed).map_err(|error| match error.hint {
        None => error.hint(SEE_CHAIN),
        Some(_) => error,
    })?;
    let chain: Vec<Info> = serde_json::from_slice(&json).because(failed)?;
    let is_recorded = |of: &&Info| of.backing_filename.is_none() || of.backing_filename_format.is_some();
    if let Some(Info { filename, backing_filename: Some(backing), .. }) = chain.iter().find(|of| !is_recorded(of)) {
        let cause = format!("`{}` does not tell the format of its backing file `{backing}`", filename.display());
        return Err(Error::failed(failed()).cause(cause).hint(SEE_CHAIN));
    }
    Ok(chain.into_iter().skip(1).map(|info| Image::new(info.filename, info.format)).collect())
}

/// Fails if an image is being written to.
pub fn unused(image: &Path) -> Result<()> {
    let failed = || format!("cannot change the image `{}`", image.display());
    let image = std::path::absolute(image).because(failed)?;
    run(&[&["info", "-f", "qcow2"].map(OsStr::new)[..], &[image.as_os_str()]].concat(), &failed).map(drop)
}

pub fn restrict(image: &Path, failed: &impl Fn() -> String) -> Result<()> {
    fs::set_permissions(image, Permissions::from_mode(0o600)).because(failed)
}

/// Runs qemu-img, and returns what it prints.
pub fn run(arguments: &[&OsStr], failed: &impl Fn() -> String) -> Result<Vec<u8>> {
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
        let error = Error::failed(failed()).cause(why.trim_start_matches("qemu-img: "));
        return Err(match why {
            locked if locked.contains("Failed to get") && locked.contains("lock") => {
                error.hint("another program has the image open: shut down the guest that uses it")
            }
            full if full.contains("No space left") => {
                error.hint("free some space, or put the store elsewhere: SNAPTREE_STORE")
            }
            unknown if unknown.to_lowercase().contains("unsupported") => {
                error.hint("a newer QEMU may read it; the one that made it can convert it: `qemu-img convert`")
            }
            _ => error,
        });
    }
    Ok(output.stdout)
}
