//! Limits on unpacking a file, so that a small file does not fill the host's disk.

use std::cell::Cell;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;

use crate::error::{Because, Error, Result};

/// Packed disks are mostly blank, and unpacking up to this size is always fine.
const ANYHOW: u64 = 1 << 30;
/// How many times its own size a larger file may unpack to.
const RATIO: u64 = 500;
/// The space to leave free on the file system of the cache, or a twentieth of it if that is less.
const RESERVE: u64 = 256 << 20;

/// A limit on the unpacked bytes of one file, and on the disk space that they take.
pub struct Budget {
    image: String,
    directory: PathBuf,
    most: u64,
    is_given: bool,
    /// The largest size checked so far.
    largest: Cell<u64>,
}

impl Budget {
    /// A budget for the file `image` of `size` bytes, which is unpacked into `directory`.
    pub fn new(image: &str, size: u64, max_size: Option<u64>, directory: &Path) -> Self {
        let most = max_size.unwrap_or(size.saturating_mul(RATIO).max(ANYHOW));
        Self {
            image: image.to_string(),
            directory: directory.to_path_buf(),
            most,
            is_given: max_size.is_some(),
            largest: Cell::new(0),
        }
    }

    /// Returns the largest size that was checked, which another budget has to allow for the same file.
    pub fn largest(&self) -> u64 {
        self.largest.get()
    }

    /// Fails if `size` bytes exceed the limit.
    pub fn check_size(&self, size: u64) -> Result<()> {
        self.largest.set(self.largest.get().max(size));
        if size <= self.most {
            return Ok(());
        }
        let most = ByteSize(self.most).display().iec();
        let error = Error::failed(format!("cannot use image `{}`", self.image));
        Err(if self.is_given {
            error.cause(format!("unpacked, it is larger than its `max_size` of {most}")).hint("raise `max_size`")
        } else {
            error
                .cause(format!("unpacked, it is larger than {most}, the limit for a file of its size"))
                .hint("if you trust it, say how large it may get, such as max_size = \"100GiB\"")
        })
    }

    /// Fails when the file system of the cache is about to be full.
    pub fn check_space(&self) -> Result<()> {
        let failed = || format!("cannot look at `{}`", self.directory.display());
        let stat = rustix::fs::statvfs(&self.directory).because(failed)?;
        let reserve = RESERVE.min(stat.f_blocks.saturating_mul(stat.f_frsize) / 20);
        if stat.f_bavail.saturating_mul(stat.f_frsize) >= reserve {
            return Ok(());
        }
        Err(self.full())
    }

    /// Returns the error for a file system without room for the unpacked file.
    pub fn full(&self) -> Error {
        Error::failed(format!("cannot unpack image `{}`", self.image))
            .cause(format!("the file system of `{}` is full", self.cache().display()))
            .hint("free some space, or set SNAPTREE_CACHE to a directory on a larger file system")
    }

    /// The cache, since the directory inside it is gone by the time that the error is read.
    fn cache(&self) -> &Path {
        self.directory.ancestors().nth(2).unwrap_or(&self.directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(size: u64, max_size: Option<u64>) -> Budget {
        Budget::new("x.gz", size, max_size, Path::new("/"))
    }

    #[test]
    fn a_small_file_may_become_a_gibibyte_and_a_large_one_five_hundred_times_its_size() {
        assert!(budget(10, None).check_size(1 << 30).is_ok());
        assert!(budget(10 << 20, None).check_size(5000 << 20).is_ok());
        assert_eq!(
            budget(10 << 20, None).check_size((5000 << 20) + 1).unwrap_err().to_string(),
            "cannot use image `x.gz`: unpacked, it is larger than 4.9 GiB, the limit for a file of its size\n\
             hint: if you trust it, say how large it may get, such as max_size = \"100GiB\""
        );
    }

    #[test]
    fn a_limit_that_is_given_counts_alone() {
        assert!(budget(10, Some(1 << 40)).check_size(1 << 40).is_ok());
        assert_eq!(
            budget(1 << 30, Some(4096)).check_size(4097).unwrap_err().to_string(),
            "cannot use image `x.gz`: unpacked, it is larger than its `max_size` of 4.0 KiB\n\
             hint: raise `max_size`"
        );
    }
}
