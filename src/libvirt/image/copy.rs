//! Copies of images, each opened with exactly the chain stated below it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::error::{Because, Result};
use crate::hypervisor::Image;
use crate::libvirt::image::{qcow2, qemu_img};

/// Copies an image into a qcow2 file of its own, for its owner only.
pub fn copy(from: &Image, to: &Path) -> Result<()> {
    let failed = || format!("cannot copy the image `{}`", from.file.display());
    let file = std::path::absolute(&from.file).because(failed)?;
    let from = described(&Image::new(file, &from.format))?;
    let arguments = ["convert", "-q", "-O", "qcow2", &from].map(OsStr::new);
    qemu_img::run(&[&arguments[..], &[to.as_os_str()]].concat(), &failed)?;
    qemu_img::restrict(to, &failed)
}

/// Describes an image with everything below it, so that QEMU opens only those files, and guesses nothing.
fn described(image: &Image) -> Result<String> {
    let mut chain = qcow2::backing_chain(image)?;
    chain.insert(0, image.clone());
    let mut below = Value::Null;
    for Image { file, format } in chain.iter().rev() {
        let is_device = fs::metadata(file).is_ok_and(|metadata| metadata.file_type().is_block_device());
        let driver = if is_device { "host_device" } else { "file" };
        let is_remote = file.to_string_lossy().contains("://");
        let place = if is_remote { json!({ "filename": file }) } else { json!({ "driver": driver, "filename": file }) };
        let mut node = json!({ "driver": format, "file": place });
        if matches!(format.as_str(), "qcow2" | "qed") {
            node["backing"] = below;
        }
        below = node;
    }
    Ok(format!("json:{below}"))
}

/// Copies a disk's state in an internal snapshot into a qcow2 file of its own, for its owner only; also while a guest
/// uses the image.
pub fn copy_internal(image: &Path, snapshot: &str, to: &Path) -> Result<()> {
    let failed = || format!("cannot copy the snapshot `{snapshot}` out of the image `{}`", image.display());
    let image = std::path::absolute(image).because(failed)?;
    let snapshot = internal(snapshot);
    let image = described(&Image::qcow2(image))?;
    let arguments = ["convert", "-q", "-U", "-O", "qcow2", "-l", &snapshot, &image].map(OsStr::new);
    qemu_img::run(&[&arguments[..], &[to.as_os_str()]].concat(), &failed)?;
    qemu_img::restrict(to, &failed)
}

/// Names an internal snapshot. A bare name would also be taken for an id.
fn internal(snapshot: &str) -> String {
    format!("snapshot.name={}", snapshot.replace(',', ",,"))
}

/// Copies an image's backing images into it.
pub fn flatten(image: &Path) -> Result<()> {
    let failed = || format!("cannot copy the backing images of `{}` into it", image.display());
    let image = std::path::absolute(image).because(failed)?;
    let image = described(&Image::qcow2(image))?;
    let arguments = ["rebase", "-q", "-b", "", &image].map(OsStr::new);
    qemu_img::run(&arguments, &failed).map(|_| ())
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
