//! Detects whether a file has changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Because, Error, Result};

/// The metadata of a file, without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp {
    path: PathBuf,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    inode: u64,
    device: u64,
}

impl FileStamp {
    pub fn of(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).because(|| format!("cannot read the image `{}`", path.display()))?;
        Ok(Self {
            path: path.to_path_buf(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
            device: metadata.dev(),
        })
    }

    /// Returns whether the content is unchanged; links and permissions may differ.
    pub fn has_content_of(&self, earlier: &Self) -> bool {
        (self.modified, self.size, self.inode) == (earlier.modified, earlier.size, earlier.inode)
    }

    /// Fails if the file has changed.
    pub fn check(&self) -> Result<()> {
        if Self::of(&self.path)?.has_content_of(self) { Ok(()) } else { Err(changed(&self.path)) }
    }
}

pub fn changed(path: &Path) -> Error {
    Error::failed(format!("image `{}` changed while it was read", path.display()))
        .hint("run it again when nothing writes to the file any more")
}
