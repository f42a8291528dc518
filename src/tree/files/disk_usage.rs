//! The disk usage of files.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Returns the disk usage of a file, in bytes.
pub fn taken(path: &Path) -> Option<u64> {
    const BLOCK: u64 = 512;
    std::fs::metadata(path).ok().map(|metadata| metadata.blocks() * BLOCK)
}
