//! Where snaptree keeps its files: XDG directories, each of which can be overridden.

use std::env;
use std::path::PathBuf;

use etcetera::BaseStrategy;

use crate::error::{Because, Result};

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

fn state(base: &impl BaseStrategy) -> PathBuf {
    base.state_dir().unwrap_or_else(|| base.data_dir())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
