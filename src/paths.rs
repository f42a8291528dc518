//! Where snaptree keeps its files: XDG directories, each of which can be overridden.

use std::env;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::error::{Because, Error, Result};

const STORE: &str = "SNAPTREE_STORE";
const PASSABLE: u32 = 0o711;

/// The directories of one run. None of them need exist, or even be possible to create, before it is used.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Layers and working disks of machines. QEMU must be able to reach it.
    pub store: PathBuf,
    /// Whether the user named the store.
    pub is_store_named: bool,
    /// Data that can be recreated: built and downloaded images, the result of the KVM probe.
    pub cache: PathBuf,
    /// The root of libvirt's in-process driver; short, for the sockets below it.
    pub embed: PathBuf,
    /// The user's own Lua modules, before the ones in the binary.
    pub stdlib: PathBuf,
    /// The history of the prompt.
    pub history: PathBuf,
    /// The sockets of the processes that attend the channels of guests; short.
    pub attendants: PathBuf,
    /// The settings of libvirt's clients.
    pub libvirt_settings: PathBuf,
    /// Where a user's own libvirt daemon logs what QEMU prints.
    pub libvirt_logs: PathBuf,
}

impl Paths {
    /// Reads `SNAPTREE_STORE`, `SNAPTREE_CACHE`, `SNAPTREE_EMBED_ROOT`, `SNAPTREE_STDLIB`, `SNAPTREE_HISTORY` and the XDG variables.
    pub fn from_env() -> Result<Self> {
        let home = home(env::home_dir());
        let base = |variable: &str, default: &str| base(env::var_os(variable), home.join(default));
        // libvirt accepts only absolute paths.
        let choose = |variable: &str, default: PathBuf| match env::var_os(variable).filter(|path| !path.is_empty()) {
            Some(path) => std::path::absolute(path).because(|| format!("{variable} names no directory")),
            None => Ok(default),
        };
        let (cache, data) = (base("XDG_CACHE_HOME", ".cache"), base("XDG_DATA_HOME", ".local/share"));
        // libvirt's system daemon runs QEMU as its own user, who has no access to root's home.
        let for_qemu =
            if is_root() { self::base(env::var_os("XDG_DATA_HOME"), "/var/lib".into()) } else { data.clone() };
        Ok(Self {
            embed: choose("SNAPTREE_EMBED_ROOT", for_qemu.join("snaptree/embed"))?,
            stdlib: choose("SNAPTREE_STDLIB", data.join("snaptree/stdlib"))?,
            history: choose("SNAPTREE_HISTORY", base("XDG_STATE_HOME", ".local/state").join("snaptree/history.txt"))?,
            cache: choose("SNAPTREE_CACHE", cache.join("snaptree"))?,
            store: choose(STORE, for_qemu.join("snaptree"))?,
            is_store_named: env::var_os(STORE).is_some_and(|path| !path.is_empty()),
            attendants: if is_root() {
                PathBuf::from("/run/snaptree")
            } else {
                base("XDG_RUNTIME_DIR", ".local/state").join("snaptree")
            },
            libvirt_settings: if is_root() {
                PathBuf::from("/etc/libvirt")
            } else {
                base("XDG_CONFIG_HOME", ".config").join("libvirt")
            },
            libvirt_logs: cache.join("libvirt/qemu/log"),
        })
    }
}

/// Returns a path for libvirt's XML, or refuses one that the XML would change.
pub fn for_libvirt(path: &Path) -> Result<&str> {
    // Tabs and line ends would turn into spaces, since libvirt does not escape them; XML cannot represent the others at
    // all.
    let is_lost = |c: &char| *c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}');
    let cannot = |why| {
        Err(Error::failed(format!("libvirt cannot take the path {path:?}"))
            .cause(why)
            .hint("rename it, or make a symbolic link to it with a plain name, and use that"))
    };
    match path.to_str().map(|text| (text, text.chars().find(is_lost))) {
        None => cannot("it is not UTF-8".to_string()),
        Some((_, Some(lost))) => cannot(format!("it contains the control character {lost:?}")),
        Some((text, None)) => Ok(text),
    }
}

/// Returns the home directory as an absolute path, or `/` for a user without one, as in some containers.
fn home(found: Option<PathBuf>) -> PathBuf {
    found.and_then(|home| std::path::absolute(home).ok()).unwrap_or_else(|| PathBuf::from("/"))
}

/// Returns one of the XDG base directories; a variable that is not an absolute path is ignored.
fn base(variable: Option<OsString>, default: PathBuf) -> PathBuf {
    variable.map(PathBuf::from).filter(|path| path.is_absolute()).unwrap_or(default)
}

/// Chooses the directory for temporary files: `TMPDIR` if files can be made there, else one that every system has.
pub fn temporary() -> PathBuf {
    let named = env::temp_dir();
    let can_hold_files =
        |directory: &Path| directory.is_dir() && access(directory, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    let candidates = [named.as_path(), Path::new("/tmp"), Path::new("/var/tmp")];
    let usable = candidates.into_iter().find(|directory| directory.is_absolute() && can_hold_files(directory));
    usable.map_or(named.clone(), Path::to_path_buf)
}

/// Makes a directory and its parents, regardless of the umask: other users may pass through them, as QEMU's own user
/// must, but not list them. Existing directories are not changed.
pub fn make_passable(directory: &Path) -> io::Result<()> {
    make_with_way(directory, PASSABLE)
}

/// Makes a directory that no other user can read, and its parents.
pub fn make_private(directory: &Path) -> io::Result<()> {
    make_with_way(directory, 0o700)
}

fn make_with_way(directory: &Path, mode: u32) -> io::Result<()> {
    let missing: Vec<&Path> = directory.ancestors().take_while(|directory| !directory.exists()).collect();
    for missing in missing.into_iter().rev() {
        let mode = if missing == directory { mode } else { PASSABLE };
        match make(missing, mode) {
            Ok(()) => fs::set_permissions(missing, Permissions::from_mode(mode))?,
            // Another process was faster, or it is the `..` of a directory that was missing.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    if directory.is_dir() { Ok(()) } else { Err(Errno::NOTDIR.into()) }
}

/// Writes a file that no other user can read, in a directory of that kind; a failure leaves everything as before.
pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    make_private(directory)?;
    let written = tempfile::Builder::new().suffix(".part").tempfile_in(directory).and_then(|mut part| {
        part.write_all(content)?;
        part.persist(path).map_err(|failed| failed.error)
    });
    if written.is_err() {
        // The directory stays if it was not empty.
        let _ = fs::remove_dir(directory);
    }
    written.map(drop)
}

fn make(directory: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new().mode(mode).create(directory)
}

/// Returns whether this process runs as root.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn directories_are_absolute_whatever_the_environment_says() {
        assert_eq!(home(Some("/home/a".into())), Path::new("/home/a"));
        assert_eq!(home(Some("a".into())), env::current_dir().expect("a directory").join("a"));
        for nothing in [None, Some("".into())] {
            assert_eq!(home(nothing), Path::new("/"));
        }
        let base = |variable: Option<&str>| base(variable.map(OsString::from), PathBuf::from("/home/a/.cache"));
        assert_eq!(base(Some("/cache")), Path::new("/cache"));
        for ignored in [None, Some(""), Some("cache"), Some("./cache")] {
            assert_eq!(base(ignored), Path::new("/home/a/.cache"));
        }
    }
    #[test]
    fn every_new_directory_on_the_way_can_be_passed_through_and_the_old_ones_stay_as_they_are() {
        let old = tempfile::tempdir().expect("a directory");
        let mode = |name: &str| fs::metadata(old.path().join(name)).expect(name).permissions().mode() & 0o777;
        let before = mode("");
        make_passable(&old.path().join("a/b/../c")).expect("directories");
        make_private(&old.path().join("a/d/e")).expect("directories");
        for name in ["a", "a/b", "a/c", "a/d"] {
            assert_eq!(mode(name), 0o711, "{name}");
        }
        assert_eq!((mode("a/d/e"), mode("")), (0o700, before));
        make_private(&old.path().join("a/b")).expect("it is there");
        assert_eq!(mode("a/b"), 0o711);
        fs::write(old.path().join("file"), "").expect("a file");
        for make in [make_passable, make_private] {
            for taken in ["file", "file/x"] {
                let refused = make(&old.path().join(taken)).expect_err("a file is there");
                assert_eq!(refused.kind(), ErrorKind::NotADirectory);
            }
        }
    }

    #[test]
    fn a_path_is_carried_as_it_is_or_refused() {
        for path in ["/vm/a:b,c=d%20.qcow2", "/vm/-x \"'<&>", "/日本/ \u{7f}", "json:{}"] {
            assert_eq!(for_libvirt(Path::new(path)).unwrap(), path);
        }
        let refused = |path: &[u8], why: &str| {
            let error = for_libvirt(Path::new(OsStr::from_bytes(path))).unwrap_err().to_string();
            let hint = "hint: rename it, or make a symbolic link to it with a plain name, and use that";
            assert_eq!(error, format!("libvirt cannot take the path {why}\n{hint}"));
        };
        refused(b"/vm/\xff", "\"/vm/\\xFF\": it is not UTF-8");
        refused(b"/vm/\x01", "\"/vm/\\u{1}\": it contains the control character '\\u{1}'");
    }
}
