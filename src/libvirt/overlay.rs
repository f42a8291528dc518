//! Overlays, made by `qemu-img`.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Because, Error, Result};

/// Creates an empty qcow2 `overlay` on `backing` for its owner only.
pub fn create(overlay: &Path, backing: &Path) -> Result<()> {
    let failed = || format!("cannot create the overlay `{}`", overlay.display());
    let backing = std::path::absolute(backing).because(failed)?;
    let format = format(&backing)
        .map_err(|error| Error::failed(failed()).cause(format!("cannot read `{}`: {error}", backing.display())))?;
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2", "-F", format, "-b"]).arg(&backing);
    command.arg(std::path::absolute(overlay).because(failed)?).stdin(Stdio::null());
    let output = command.output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::failed(failed())
            .cause("there is no `qemu-img` on the path")
            .hint("install it: Debian's package is `qemu-utils`"),
        _ => Error::failed(failed()).cause(error),
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::failed(failed()).cause(said.trim().trim_start_matches("qemu-img: ")));
    }
    fs::set_permissions(overlay, Permissions::from_mode(0o600)).because(failed)
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
    fn a_missing_backing_file_is_named() {
        let error = create(Path::new("/tmp/o.qcow2"), Path::new("/nope/base.qcow2")).unwrap_err().to_string();
        let expected = "cannot create the overlay `/tmp/o.qcow2`: cannot read `/nope/base.qcow2`: No such file or \
                        directory (os error 2)";
        assert_eq!(error, expected);
    }
}
