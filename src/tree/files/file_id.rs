//! The identity of files. Many paths lead to one file: through symbolic links, `..`, hard links and bind mounts.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file, however it is named. Compare these to find out whether two files are the same, never paths.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileId {
    Inode {
        device: u64,
        inode: u64,
    },
    /// A file that does not exist, by the directory and the name that it would have.
    Absent(PathBuf),
}

impl FileId {
    pub fn of(path: &Path) -> Self {
        match fs::metadata(path) {
            Ok(metadata) => Self::Inode { device: metadata.dev(), inode: metadata.ino() },
            Err(_) => Self::Absent(place(path)),
        }
    }
}

/// Returns a path with the symbolic links in its directory resolved.
pub fn place(path: &Path) -> PathBuf {
    let real =
        |directory: &Path| fs::canonicalize(if directory.as_os_str().is_empty() { Path::new(".") } else { directory });
    match (path.parent().map(real), path.file_name()) {
        (Some(Ok(directory)), Some(name)) => directory.join(name),
        _ => path.to_path_buf(),
    }
}

pub fn is_same_file(one: &Path, other: &Path) -> bool {
    one == other || FileId::of(one) == FileId::of(other)
}

/// A set of files.
#[derive(Clone, Debug, Default)]
pub struct FileSet(HashSet<FileId>);

impl FileSet {
    pub fn contains(&self, path: &Path) -> bool {
        // Most sets are empty or small, and looking at a file takes a system call.
        !self.0.is_empty() && self.0.contains(&FileId::of(path))
    }

    pub fn insert(&mut self, path: &Path) -> bool {
        self.0.insert(FileId::of(path))
    }
}

impl<P: AsRef<Path>> FromIterator<P> for FileSet {
    fn from_iter<I: IntoIterator<Item = P>>(paths: I) -> Self {
        Self(paths.into_iter().map(|path| FileId::of(path.as_ref())).collect())
    }
}

impl<P: AsRef<Path>> Extend<P> for FileSet {
    fn extend<I: IntoIterator<Item = P>>(&mut self, paths: I) {
        self.0.extend(paths.into_iter().map(|path| FileId::of(path.as_ref())));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn one_file_has_many_paths() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("real")).unwrap();
        fs::write(path("real/a"), "").unwrap();
        fs::write(path("real/b"), "").unwrap();
        symlink("real", path("link")).unwrap();
        symlink("real/a", path("to-a")).unwrap();
        fs::hard_link(path("real/a"), path("hard")).unwrap();
        for same in ["real/a", "link/a", "real/../real/./a", "link/../real/a", "to-a", "hard"] {
            assert!(is_same_file(&path("real/a"), &path(same)), "{same}");
            assert!(FileSet::from_iter([path("real/a")]).contains(&path(same)), "{same}");
        }
        for other in ["real/b", "link/b", "real", "nothing"] {
            assert!(!is_same_file(&path("real/a"), &path(other)), "{other}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_has_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("real")).unwrap();
        symlink("real", path("link")).unwrap();
        assert!(is_same_file(&path("real/a"), &path("link/a")));
        assert!(!is_same_file(&path("real/a"), &path("real/b")));
        assert!(is_same_file(Path::new("/no/where/a"), Path::new("/no/where/a")));
        symlink("nowhere", path("broken")).unwrap();
        assert!(!is_same_file(&path("broken"), &path("real/a")));
    }
}
