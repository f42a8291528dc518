//! Calls on image files.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::hypervisor::{Image, Images};
use crate::libvirt::image::{copy, depends, overlay, qcow2, qemu_img};
use crate::libvirt::port::libvirt::Libvirt;
use crate::libvirt::snapshot::internal;

impl Images for Libvirt {
    fn backing_chain(&self, image: &Image) -> Result<Vec<Image>> {
        qcow2::backing_chain(image)
    }

    fn depends_on(&self, file: &Path) -> Result<Vec<PathBuf>> {
        depends::depends_on(file)
    }

    fn data_file(&self, image: &Image) -> Result<Option<PathBuf>> {
        qcow2::data_file(image)
    }

    fn create_overlay(&self, overlay: &Path, backing: &Image) -> Result<()> {
        overlay::create(overlay, backing)
    }

    fn copy_image(&self, from: &Image, to: &Path, size: Option<u64>) -> Result<()> {
        copy::copy(from, to)?;
        size.map_or(Ok(()), |size| qemu_img::resize(to, size))
    }

    fn copy_internal(&self, image: &Path, snapshot: &str, to: &Path) -> Result<()> {
        copy::copy_internal(image, snapshot, to)
    }

    fn count_internal(&self, image: &Path, snapshot: &str) -> Result<usize> {
        internal::count(image, snapshot)
    }

    fn flatten(&self, image: &Path) -> Result<()> {
        copy::flatten(image)
    }
}
