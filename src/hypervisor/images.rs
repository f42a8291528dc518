//! Calls on image files.

use std::path::{Path, PathBuf};

use super::domain::Image;
use crate::error::Result;

/// Image files, whichever domains use them.
pub trait Images: Send + Sync {
    /// Lists the backing images of `image`, without itself (`qemu-img info --backing-chain`).
    fn backing_chain(&self, image: &Image) -> Result<Vec<Image>>;

    /// Lists the files that the image in a file directly depends on, whatever its format: backing file, data file and
    /// extents. Unlike `backing_chain` this trusts the content, which a guest may have written: it says what must be
    /// kept, not what may be opened. A file that is missing or no image depends on nothing.
    fn depends_on(&self, file: &Path) -> Result<Vec<PathBuf>>;

    /// Returns the file beside a qcow2 image that holds its data (`data_file`).
    fn data_file(&self, image: &Image) -> Result<Option<PathBuf>>;

    /// Creates an empty qcow2 `overlay` on the image `backing` (`qemu-img create -b -F`).
    fn create_overlay(&self, overlay: &Path, backing: &Image) -> Result<()>;

    /// Copies an image into a qcow2 file of its own (`qemu-img convert -f`), which has `size` bytes for the guest if
    /// that is given (`qemu-img resize`).
    fn copy_image(&self, from: &Image, to: &Path, size: Option<u64>) -> Result<()>;

    /// Copies a disk's state in an internal snapshot into a qcow2 file of its own (`qemu-img convert -l`).
    fn copy_internal(&self, image: &Path, snapshot: &str, to: &Path) -> Result<()>;

    /// Counts the internal snapshots of this name in an image (`qemu-img snapshot -l`).
    fn count_internal(&self, image: &Path, snapshot: &str) -> Result<usize>;

    /// Copies the backing images of an unused image into it, which then has no backing file (`qemu-img rebase -b ''`).
    fn flatten(&self, image: &Path) -> Result<()>;
}
