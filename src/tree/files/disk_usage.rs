//! What files take on the disk.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Says what a file takes on the disk, in bytes.
pub fn taken(path: &Path) -> Option<u64> {
    const BLOCK: u64 = 512;
    std::fs::metadata(path).ok().map(|metadata| metadata.blocks() * BLOCK)
}
