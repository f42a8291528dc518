//! Calls on image files.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::fake::port::fake::Fake;
use crate::hypervisor::{Image, Images};

impl Images for Fake {
    fn backing_chain(&self, image: &Image) -> Result<Vec<Image>> {
        // Which format an image has makes no difference here.
        self.store.look(|state| Ok(state.backing_chain(&image.file).into_iter().map(Image::qcow2).collect()))
    }

    fn depends_on(&self, file: &Path) -> Result<Vec<PathBuf>> {
        self.store.look(|state| state.depends_on(file))
    }

    fn data_file(&self, _: &Image) -> Result<Option<PathBuf>> {
        Ok(None)
    }

    fn create_overlay(&self, overlay: &Path, backing: &Image) -> Result<()> {
        self.store.change(|state| state.create_overlay(overlay, &backing.file))
    }

    fn copy_image(&self, from: &Image, to: &Path, _: Option<u64>) -> Result<()> {
        self.store.change(|state| state.copy_image(&from.file, to))
    }

    fn copy_internal(&self, image: &Path, snapshot: &str, to: &Path) -> Result<()> {
        self.store.change(|state| state.copy_internal(image, snapshot, to))
    }

    fn count_internal(&self, image: &Path, snapshot: &str) -> Result<usize> {
        self.store.look(|state| Ok(state.layers.get(image).map_or(0, |it| it.snapshots.contains_key(snapshot).into())))
    }

    fn flatten(&self, image: &Path) -> Result<()> {
        self.store.change(|state| state.flatten(image))
    }
}
