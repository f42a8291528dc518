//! Copies of files with holes in them.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::error::{Because, Error, Result};

/// What is written anew where something in it differs.
const PAGE: usize = 4 << 10;
const CHUNK: u64 = 256 << 10;

/// Copies a file: it shares blocks with its copy where the file system can do that, and keeps its holes where not.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = || format!("cannot copy `{}`", from.display());
    let mut copy = Command::new("cp");
    copy.args(["--reflink=auto", "--sparse=always", "--"]).args([from, to]);
    let output = copy.stdin(Stdio::null()).output().because(failed)?;
    if output.status.success() {
        return Ok(());
    }
    // What was copied so far is of no use.
    let _ = std::fs::remove_file(to);
    Err(Error::failed(failed()).cause(String::from_utf8_lossy(&output.stderr).trim()))
}

/// Makes a copy the same again, after something was written to the original; it may have fewer holes then, but not more.
/// That is faster than another copy.
pub fn update(original: &Path, copy: &Path) -> Result<()> {
    let failed = || format!("cannot update the copy of `{}`", original.display());
    let from = File::open(original).because(failed)?;
    let to = File::options().read(true).write(true).open(copy).because(failed)?;
    if rustix::fs::ioctl_ficlone(&to, &from).is_ok() {
        return Ok(());
    }
    let size = from.metadata().because(failed)?.len();
    let parts = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let part = size.div_ceil(parts).next_multiple_of(CHUNK).max(CHUNK);
    let (from, to) = (&from, &to);
    std::thread::scope(|scope| {
        let ranges = (0..parts).map(|n| (n * part).min(size)..((n + 1) * part).min(size));
        let threads: Vec<_> = ranges.map(|range| scope.spawn(move || update_part(from, to, range))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("it broke"))))
    })
    .because(failed)
}

fn update_part(from: &File, to: &File, range: Range<u64>) -> io::Result<()> {
    let (mut was, mut is) = (vec![0; CHUNK as usize], vec![0; CHUNK as usize]);
    let mut at = range.start;
    while at < range.end {
        at = match seek(from, SeekFrom::Data(at)) {
            Ok(data) => data,
            // There are only holes up to the end.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = seek(from, SeekFrom::Hole(at))?.min(range.end);
        while at < end {
            let length = (end - at).min(CHUNK) as usize;
            let (was, is) = (&mut was[..length], &mut is[..length]);
            from.read_exact_at(is, at)?;
            to.read_exact_at(was, at)?;
            if was != is {
                for (n, (was, is)) in was.chunks(PAGE).zip(is.chunks(PAGE)).enumerate() {
                    if was != is {
                        to.write_all_at(is, at + (n * PAGE) as u64)?;
                    }
                }
            }
            at += length as u64;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_copy_is_updated_where_the_original_changed() {
        const SIZE: u64 = 64 << 20;
        let directory = tempfile::tempdir().unwrap();
        let (original, copied) = (directory.path().join("original"), directory.path().join("copy"));
        let file = File::create(&original).unwrap();
        file.set_len(SIZE).unwrap();
        let write = |at: u64, byte: u8, length: usize| file.write_all_at(&vec![byte; length], at).unwrap();
        write(0, 1, 10_000);
        write(SIZE / 2 - 5, 2, 10);
        copy(&original, &copied).unwrap();
        // In what was there, in a hole, across the parts of two threads, and at the end.
        write(9_000, 3, 1);
        write(5 << 20, 4, 300_000);
        write(SIZE / 2 - 1, 5, 2);
        write(SIZE - 1, 6, 1);
        assert_ne!(fs::read(&original).unwrap(), fs::read(&copied).unwrap());
        update(&original, &copied).unwrap();
        assert!(fs::read(&original).unwrap() == fs::read(&copied).unwrap());
        assert!(fs::metadata(&copied).unwrap().blocks() * 512 < SIZE / 8, "the holes are still there");
        update(&original, &copied).unwrap();
        assert!(fs::read(&original).unwrap() == fs::read(&copied).unwrap());
    }

    #[test]
    fn a_copy_that_is_missing_is_named() {
        let error = update(Path::new("/dev/null"), Path::new("/nowhere/copy")).unwrap_err().to_string();
        assert_eq!(error, "cannot update the copy of `/dev/null`: No such file or directory");
    }
}
