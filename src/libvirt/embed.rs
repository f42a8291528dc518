//! libvirt's in-process driver, `qemu:///embed?root=DIR`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::libvirt::raw;
use crate::paths::{self, for_libvirt, is_root};

/// The directory below the root for the sockets of our ports.
pub const SOCKETS: &str = "agent";
const PREFIX: &str = "qemu:///embed?root=";
/// A socket's path is limited to 107 bytes, and libvirt puts some 55 below the root.
const LONGEST_ROOT: usize = 50;

/// Returns the URI of the driver with this root.
pub fn uri(root: &Path) -> String {
    let mut uri = PREFIX.to_string();
    for byte in root.to_string_lossy().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => uri.push(byte.into()),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

/// Returns the root in a URI of this driver.
pub fn root_of(uri: &str) -> Option<PathBuf> {
    let root = uri.strip_prefix(PREFIX)?.split('&').next()?;
    let mut bytes = Vec::new();
    let mut rest = root.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        bytes.push(u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?);
    }
    String::from_utf8(bytes).ok().map(PathBuf::from)
}

/// Returns a short path for the socket of a domain's port; libvirt's own would not fit below most roots.
pub fn socket(root: &Path, uuid: &str, port: usize) -> PathBuf {
    root.join(SOCKETS).join(format!("{}{port}", uuid.get(..8).unwrap_or(uuid)))
}

/// Prepares the root. It must be called before the first call of libvirt, because of libvirt's log.
pub fn prepare(root: &Path) -> Result<()> {
    let length = root.as_os_str().len();
    if length > LONGEST_ROOT {
        return Err(Error::unavailable(format!(
            "the root of libvirt's in-process driver is too long: `{}`",
            root.display()
        ))
        .cause(format!("it has {length} bytes, and sockets leave room for {LONGEST_ROOT}"))
        .hint("SNAPTREE_EMBED_ROOT chooses a shorter directory"));
    }
    for_libvirt(root).map_err(|error| error.hint("SNAPTREE_EMBED_ROOT chooses another directory"))?;
    let failed = |cause| {
        Error::unavailable(format!("cannot prepare the root of libvirt's in-process driver, `{}`", root.display()))
            .cause(cause)
            .hint("SNAPTREE_EMBED_ROOT chooses another directory; a libvirt daemon needs none")
    };
    for directory in ["etc", SOCKETS] {
        paths::make_private(&root.join(directory)).map_err(failed)?;
    }
    let settings = root.join("etc/qemu.conf");
    if !settings.exists() {
        fs::write(&settings, if is_root() { format!("{SETTINGS}{SETTINGS_OF_ROOT}") } else { SETTINGS.to_string() })
            .map_err(failed)?;
    }
    raw::log_to(&root.join("libvirt.log"));
    Ok(())
}

const SETTINGS: &str = "\
# Written by snaptree once; yours to change.
# No virtlogd: QEMU's output goes straight into files.
stdio_handler = \"file\"
";
const SETTINGS_OF_ROOT: &str = "\
# QEMU runs as root, like the rest of this process, and files keep their owners.
user = \"root\"
group = \"root\"
dynamic_ownership = 0
remember_owner = 0
security_driver = \"none\"
";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn any_root_survives_in_a_uri() {
        let root = Path::new("/tmp/a b&c%/日本");
        assert_eq!(uri(root), "qemu:///embed?root=/tmp/a%20b%26c%25/%E6%97%A5%E6%9C%AC");
        assert_eq!(root_of(&uri(root)).unwrap(), root);
        assert_eq!(root_of("qemu:///system"), None);
    }

    #[test]
    fn a_root_too_long_for_sockets_is_refused() {
        let root = Path::new("/tmp").join("x".repeat(60));
        let error = prepare(&root).unwrap_err();
        assert_eq!(error.kind, crate::error::Kind::Unavailable);
        assert!(!root.exists());
    }
}
