//! Backing chains: how deep they may get, and which files are kept outside of the tree.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::hypervisor::{DiskFile, Image, SnapshotKind};
use crate::tree::build::failed_step::Failed;
use crate::tree::clone::checkpointer::{Checkpoint, Trail};
use crate::tree::files::file_id::is_same_file;
use crate::tree::kept::superseded::Aside;
use crate::tree::kept::undo_log::Shelf;
use crate::tree::machine::engine::{Engine, Machine};

/// The most images in a chain. Reads get slower with each, and libvirt 11.3 does not start a domain with more than 25.
pub const DEEPEST: usize = 16;

impl Engine {
    /// Counts the images in a chain, the first one included.
    pub(in crate::tree) fn depth(&self, image: &Image) -> Result<usize> {
        Ok(1 + self.hypervisor.backing_chain(image)?.len())
    }

    /// Makes a file that begins as a copy of `layer`: an overlay, or a full copy where the chain would get too deep.
    pub(in crate::tree) fn stand_on(&self, layer: &Image, file: &Path) -> Result<()> {
        if self.depth(layer)? < DEEPEST {
            self.hypervisor.create_overlay(file, layer)
        } else {
            self.hypervisor.copy_image(layer, file, None)
        }
    }

    /// Lists the disks whose chain a snapshot would make too deep; refuses one that must not be made to stand alone.
    pub(in crate::tree) fn too_deep<'a>(&self, machine: &Machine, disks: &'a [DiskFile]) -> Result<Vec<&'a DiskFile>> {
        let mut deep = Vec::new();
        for disk in disks {
            if self.depth(&disk.image())? < DEEPEST {
                continue;
            }
            if let Some(holder) = machine.holder_of(&disk.file) {
                return Err(Error::failed(format!("the backing chain of `{}` cannot get any deeper", disk.target))
                    .cause(format!("it has {DEEPEST} images, and `{holder}` is inside the last one"))
                    .hint(format!("revert to `{holder}` or delete it, or take a snapshot nearer to the root")));
            }
            deep.push(disk);
        }
        Ok(deep)
    }

    /// Makes a machine's own disks stand alone where a snapshot would make their chain too deep.
    pub(in crate::tree) fn shorten(&self, machine: &Machine, disks: &[DiskFile]) -> Result<()> {
        for disk in self.too_deep(machine, disks)? {
            self.events.note(format!(
                "the backing chain of `{}` in `{}` has {DEEPEST} images: copying it into one",
                disk.target, machine.name
            ));
            if machine.is_active() {
                const LIMIT: std::time::Duration = std::time::Duration::from_secs(3600);
                let stop = crate::stop::Stop::after(LIMIT, &self.interrupt);
                self.hypervisor.pull(machine.name.as_str(), &disk.target, &stop)?;
            } else {
                self.hypervisor.flatten(&disk.file)?;
            }
        }
        Ok(())
    }
}

impl Machine {
    /// Lists the files that are kept outside of the tree: of superseded and failed nodes and for `undo`.
    pub fn kept_files(&self) -> Vec<PathBuf> {
        let aside = Aside::of(&self.directory).nodes();
        let aside = aside.iter().flat_map(|node| node.snapshot.files()).map(Path::to_path_buf);
        let entries = Shelf::of(&self.directory).entries();
        let undo = entries.iter().flat_map(|entry| {
            entry.files().into_iter().chain(entry.unfinished.iter().flat_map(|unfinished| unfinished.made.clone()))
        });
        let failed = Failed::drawer(&self.directory).all().into_iter().flat_map(|failed| failed.files());
        let trails = Trail::drawer(&self.directory).all().into_iter().flat_map(|trail| trail.files());
        aside.chain(undo).chain(failed).chain(trails).collect()
    }

    /// Lists the images among them.
    pub fn kept_images(&self) -> Vec<Image> {
        let aside = Aside::of(&self.directory).nodes();
        let undo = Shelf::of(&self.directory).entries();
        let undo = undo.iter().flat_map(|entry| {
            let made = entry.unfinished.iter().flat_map(|unfinished| unfinished.made.iter().map(Image::qcow2));
            entry.images().into_iter().chain(made)
        });
        let failed = Failed::drawer(&self.directory).all().into_iter().flat_map(|failed| failed.images());
        let trails = Trail::drawer(&self.directory).all();
        let trails = trails.iter().flat_map(|trail| trail.checkpoints.iter().flat_map(Checkpoint::images));
        aside.iter().flat_map(|node| node.snapshot.images()).chain(undo).chain(failed).chain(trails).collect()
    }

    /// Returns the snapshot whose state is inside a file that a guest may be writing to.
    pub fn holder_of(&self, file: &Path) -> Option<&str> {
        let holds = |disk: &crate::hypervisor::SnapshotDisk| {
            disk.kind == Some(SnapshotKind::Internal)
                && disk.file.as_deref().is_some_and(|holder| is_same_file(holder, file))
        };
        self.nodes.iter().find(|node| node.snapshot.disks.iter().any(holds)).map(|node| node.name())
    }
}
