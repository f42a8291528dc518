//! Copies of files with holes in them.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use memmap2::{Advice, Mmap};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::error::{Because, Error, Result};
use crate::libvirt::raw;

/// The unit that is rewritten if anything in it differs.
const PAGE: usize = 4 << 10;

/// Copies a file, sharing blocks with its copy if the file system can do that, and keeping its holes otherwise.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = || format!("cannot copy `{}`", from.display());
    let mut copy = Command::new("cp");
    copy.args(["--reflink=auto", "--sparse=always", "--"]).args([from, to]);
    let output = copy.env("LC_ALL", "C").stdin(Stdio::null()).output().because(|| "cannot run `cp`".to_string());
    let output = output.map_err(|error| Error::failed(failed()).caused_by(error))?;
    if output.status.success() {
        return Ok(());
    }
    // An incomplete copy is of no use.
    let _ = std::fs::remove_file(to);
    Err(Error::failed(failed()).cause(String::from_utf8_lossy(&output.stderr).trim()))
}

/// A copy of a file that is still being written to.
pub struct Following {
    original: File,
    copy: File,
    /// The content of both, if they share no blocks. It is loaded before it is needed, since a guest is stopped then.
    mapped: Option<[Mmap; 2]>,
    names: [PathBuf; 2],
}

impl Following {
    /// Copies a file as it is now.
    pub fn start(from: &Path, to: &Path) -> Result<Self> {
        copy(from, to)?;
        let failed = || format!("cannot read `{}` and its copy", from.display());
        let original = File::open(from).because(failed)?;
        let copy = File::options().read(true).write(true).open(to).because(failed)?;
        let shares_blocks = rustix::fs::ioctl_ficlone(&copy, &original).is_ok();
        let mapped = if shares_blocks { None } else { Some(map(&original, &copy).because(failed)?) };
        Ok(Self { original, copy, mapped, names: [from, to].map(Path::to_path_buf) })
    }

    /// Brings the copy up to date while nothing writes to the original; it may have fewer holes then, but not more.
    pub fn catch_up(&self) -> Result<()> {
        let [original, copy] = &self.names;
        let failed = || format!("cannot make `{}` the same as `{}`", copy.display(), original.display());
        let Some([is, was]) = &self.mapped else {
            return rustix::fs::ioctl_ficlone(&self.copy, &self.original).because(failed);
        };
        let parts = std::thread::available_parallelism().map_or(1, NonZero::get);
        let part = is.len().div_ceil(parts).next_multiple_of(PAGE).max(PAGE);
        std::thread::scope(|scope| {
            let ranges = (0..parts).map(|n| (n * part).min(is.len())..((n + 1) * part).min(is.len()));
            let threads: Vec<_> = ranges.map(|range| scope.spawn(|| self.catch_up_in(range, is, was))).collect();
            threads.into_iter().try_for_each(|it| it.join().unwrap_or_else(|_| Err(io::Error::other("it broke"))))
        })
        .because(failed)
    }

    fn catch_up_in(&self, range: Range<usize>, is: &[u8], was: &[u8]) -> io::Result<()> {
        for data in data(&self.original, range)? {
            for at in data.clone().step_by(PAGE) {
                let page = at..(at + PAGE).min(data.end);
                if is[page.clone()] != was[page.clone()] {
                    self.copy.write_all_at(&is[page], at as u64)?;
                }
            }
        }
        Ok(())
    }
}

/// Maps two files into memory, and loads the ranges in which the first one has data.
fn map(original: &File, copy: &File) -> io::Result<[Mmap; 2]> {
    let mapped = [raw::map(original)?, raw::map(copy)?];
    for data in data(original, 0..mapped[0].len())? {
        for mapped in &mapped {
            // If the kernel cannot do that, they are read on access.
            let _ = mapped.advise_range(Advice::PopulateRead, data.start, data.len());
        }
    }
    Ok(mapped)
}

/// Finds the parts of a range of a file that are not holes.
fn data(file: &File, range: Range<usize>) -> io::Result<Vec<Range<usize>>> {
    let mut found = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let start = match seek(file, SeekFrom::Data(at as u64)) {
            Ok(start) => (start as usize).min(range.end),
            // There are only holes up to the end.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        at = (seek(file, SeekFrom::Hole(start as u64))? as usize).min(range.end);
        if start < at {
            found.push(start..at);
        }
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_copy_catches_up_where_the_original_changed() {
        const SIZE: u64 = 64 << 20;
        let directory = tempfile::tempdir().unwrap();
        let (original, copied) = (directory.path().join("original"), directory.path().join("copy"));
        let file = File::create(&original).unwrap();
        // Not a whole number of pages.
        file.set_len(SIZE + 5).unwrap();
        let write = |at: u64, byte: u8, length: usize| file.write_all_at(&vec![byte; length], at).unwrap();
        write(0, 1, 10_000);
        write(SIZE / 2 - 5, 2, 10);
        let following = Following::start(&original, &copied).unwrap();
        assert!(fs::read(&original).unwrap() == fs::read(&copied).unwrap());
        // In what was there, in a hole, across the parts of two threads, and at the end.
        write(9_000, 3, 1);
        write(5 << 20, 4, 300_000);
        write(SIZE / 2 - 1, 5, 2);
        write(SIZE + 4, 6, 1);
        assert_ne!(fs::read(&original).unwrap(), fs::read(&copied).unwrap());
        following.catch_up().unwrap();
        assert!(fs::read(&original).unwrap() == fs::read(&copied).unwrap());
        assert!(fs::metadata(&copied).unwrap().blocks() * 512 < SIZE / 8, "the holes are still there");
        following.catch_up().unwrap();
        assert!(fs::read(&original).unwrap() == fs::read(&copied).unwrap());
    }

    #[test]
    fn the_data_of_a_file_is_what_is_between_its_holes() {
        const PART: u64 = 1 << 20;
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 * PART).unwrap();
        let data = |range: Range<u64>| -> Vec<_> {
            super::data(&file, range.start as usize..range.end as usize)
                .unwrap()
                .into_iter()
                .map(|data| (data.start as u64, data.end as u64))
                .collect()
        };
        assert_eq!(data(0..8 * PART), []);
        for part in [1, 2, 5] {
            file.write_all_at(&vec![1; PART as usize], part * PART).unwrap();
        }
        assert_eq!(data(0..8 * PART), [(PART, 3 * PART), (5 * PART, 6 * PART)]);
        assert_eq!(data(2 * PART + 7..5 * PART + 7), [(2 * PART + 7, 3 * PART), (5 * PART, 5 * PART + 7)]);
        assert_eq!(data(3 * PART..5 * PART), []);
        assert_eq!(data(PART..PART), []);
    }

    #[test]
    fn a_copy_that_cannot_be_made_names_the_original() {
        let error = Following::start(Path::new("/dev/null/x"), Path::new("/nowhere/copy")).err().unwrap();
        assert!(error.to_string().starts_with("cannot copy `/dev/null/x`: "), "{error}");
    }
}
