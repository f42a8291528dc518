//! Where snaptree keeps its files: XDG directories, each of which can be overridden.

use std::env;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

use crate::error::{Because, Error, Result};

const STORE: &str = "SNAPTREE_STORE";

/// The directories of one run.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Layers and working disks of machines. QEMU must be able to reach it.
    pub store: PathBuf,
    /// Whether the user named the store.
    pub is_store_named: bool,
    /// What can be made again: built and downloaded images, the answer of the KVM probe.
    pub cache: PathBuf,
    /// The root of libvirt's in-process driver; short, for the sockets below it.
    pub embed: PathBuf,
    /// The user's own Lua modules, before the ones in the binary.
    pub stdlib: PathBuf,
    /// The lines that were typed at the prompt.
    pub history: PathBuf,
}

impl Paths {
    /// Reads `SNAPTREE_STORE`, `SNAPTREE_CACHE`, `SNAPTREE_EMBED_ROOT`, `SNAPTREE_STDLIB`, `SNAPTREE_HISTORY` and the XDG variables.
    pub fn from_env() -> Result<Self> {
        let base = etcetera::choose_base_strategy().because(|| "cannot find the home directory".to_string())?;
        // libvirt takes absolute paths only.
        let choose = |variable: &str, default: PathBuf| match env::var_os(variable).filter(|path| !path.is_empty()) {
            Some(path) => std::path::absolute(path).because(|| format!("{variable} names no directory")),
            None => Ok(default),
        };
        // libvirt's system daemon runs QEMU as a user of its own, which cannot reach into root's home.
        let is_root = env::var_os("XDG_DATA_HOME").is_none() && is_root();
        let data = if is_root { PathBuf::from("/var/lib/snaptree") } else { base.data_dir().join("snaptree") };
        Ok(Self {
            embed: choose("SNAPTREE_EMBED_ROOT", data.join("embed"))?,
            stdlib: choose("SNAPTREE_STDLIB", base.data_dir().join("snaptree/stdlib"))?,
            history: choose("SNAPTREE_HISTORY", state(&base).join("snaptree/history.txt"))?,
            cache: choose("SNAPTREE_CACHE", base.cache_dir().join("snaptree"))?,
            store: choose(STORE, data)?,
            is_store_named: env::var_os(STORE).is_some_and(|path| !path.is_empty()),
        })
    }
}

/// Returns a path as libvirt's XML carries it, or refuses one that would come to be another one there.
pub fn for_libvirt(path: &Path) -> Result<&str> {
    // Tabs and ends of lines come to be spaces, since libvirt writes them as they are; the others XML has no way to carry.
    let is_lost = |c: &char| *c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}');
    let cannot = |why| Err(Error::failed(format!("libvirt cannot take the path {path:?}")).cause(why));
    match path.to_str().map(|text| (text, text.chars().find(is_lost))) {
        None => cannot("it is not UTF-8".to_string()),
        Some((_, Some(lost))) => cannot(format!("it contains the control character {lost:?}")),
        Some((text, None)) => Ok(text),
    }
}

fn state(base: &impl BaseStrategy) -> PathBuf {
    base.state_dir().unwrap_or_else(|| base.data_dir())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_path_is_carried_as_it_is_or_refused() {
        for path in ["/vm/a:b,c=d%20.qcow2", "/vm/-x \"'<&>", "/日本/ \u{7f}", "json:{}"] {
            assert_eq!(for_libvirt(Path::new(path)).unwrap(), path);
        }
        let refused = |path: &[u8]| for_libvirt(Path::new(OsStr::from_bytes(path))).unwrap_err().to_string();
        assert_eq!(refused(b"/vm/\xff"), "libvirt cannot take the path \"/vm/\\xFF\": it is not UTF-8");
        let control = "libvirt cannot take the path \"/vm/\\u{1}\": it contains the control character '\\u{1}'";
        assert_eq!(refused(b"/vm/\x01"), control);
    }
}
