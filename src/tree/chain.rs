//! Backing chains: how deep they may get, and which files are still stood on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::aside::Aside;
use super::checkpoint::{Checkpoint, Trail};
use super::engine::{Engine, Machine};
use super::failed::Failed;
use super::shelf::Shelf;
use super::store::maker;
use crate::error::{Because, Error, Result};
use crate::hypervisor::{DiskFile, Image, SnapshotKind};
use crate::name::MachineName;

/// The most images in a chain. Reads get slower with each, and libvirt 11.3 does not start a domain with more than 25.
pub const DEEPEST: usize = 16;

impl Engine {
    /// Counts the images in a chain, the first one included.
    pub(super) fn depth(&self, image: &Image) -> Result<usize> {
        Ok(1 + self.hypervisor.backing_chain(image)?.len())
    }

    /// Makes a file that begins as a copy of `layer`: an overlay, or a full copy where the chain would get too deep.
    pub(super) fn stand_on(&self, layer: &Image, file: &Path) -> Result<()> {
        if self.depth(layer)? < DEEPEST {
            self.hypervisor.create_overlay(file, layer)
        } else {
            self.hypervisor.copy_image(layer, file, None)
        }
    }

    /// Lists the disks whose chain a snapshot would make too deep; refuses one that must not be made to stand alone.
    pub(super) fn too_deep<'a>(&self, machine: &Machine, disks: &'a [DiskFile]) -> Result<Vec<&'a DiskFile>> {
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
    pub(super) fn shorten(&self, machine: &Machine, disks: &[DiskFile]) -> Result<()> {
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

    /// Removes those of `files` that snapshots brought about and that nothing stands on any more. What is still stood
    /// on is looked at again the next time. Returns how many bytes that freed.
    pub(super) fn collect(&self, name: &MachineName, files: Vec<PathBuf>) -> Result<u64> {
        let _alone = self.one_collection();
        let Some(machine) = self.look_again(name)? else { return Ok(0) };
        let mut freed = 0;
        let shelf = Shelf::of(&machine.directory);
        let mut files: BTreeSet<PathBuf> = files.into_iter().chain(shelf.leftovers()).collect();
        files.retain(|file| file.exists());
        if !files.is_empty() {
            let needed = self.needed(&machine)?;
            // Whatever was an overlay is qcow2.
            let images = files.iter().filter(|file| is_image(file)).map(Image::qcow2);
            let below = images.flat_map(|image| self.unnamed_below(&machine, &image));
            let all: BTreeSet<PathBuf> = files.iter().cloned().chain(below).collect();
            for file in all.difference(&needed) {
                freed += super::info::taken(file).unwrap_or_default();
                std::fs::remove_file(file).because(|| format!("cannot remove `{}`", file.display()))?;
            }
            files = files.intersection(&needed).cloned().collect();
        }
        shelf.set_leftovers(&files)?;
        Ok(freed)
    }

    /// Lists the files of ours that an image stands on. Those between two nodes are of check-points, which need not be
    /// known any more.
    fn unnamed_below(&self, machine: &Machine, image: &Image) -> Vec<PathBuf> {
        let chain = self.hypervisor.backing_chain(image).unwrap_or_default().into_iter().map(|image| image.file);
        let is_ours = |file: &PathBuf| {
            let stem = file.file_stem().and_then(|stem| stem.to_str());
            file.parent() == Some(&machine.directory) && stem.and_then(maker).is_some() && file.exists()
        };
        chain.filter(is_ours).collect()
    }

    /// Lists what any domain of this connection stands on, with its snapshots, and what is kept for this machine.
    fn needed(&self, machine: &Machine) -> Result<BTreeSet<PathBuf>> {
        let mut needed: BTreeSet<PathBuf> = machine.kept_files().into_iter().collect();
        let mut images = machine.kept_images();
        for domain in self.hypervisor.domains()? {
            match self.used_by(&domain.name) {
                Ok((of_domain, memory)) => {
                    images.extend(of_domain);
                    needed.extend(memory);
                }
                // A transient one that ended meanwhile.
                Err(_) if self.hypervisor.domain(&domain.name)?.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        for image in images {
            // A file that is gone needs nothing; one whose chain cannot be read might need everything.
            if image.file.is_file() {
                needed.extend(self.hypervisor.backing_chain(&image)?.into_iter().map(|below| below.file));
            }
            needed.insert(image.file);
        }
        Ok(needed)
    }

    /// Lists the images and the files with RAM that a domain and its snapshots name.
    fn used_by(&self, domain: &str) -> Result<(Vec<Image>, Vec<PathBuf>)> {
        let (mut images, mut memory) = (self.hypervisor.disk_images(domain)?, Vec::new());
        for snapshot in self.hypervisor.snapshots(domain)? {
            images.extend(snapshot.layers().iter().map(DiskFile::image));
            memory.extend(snapshot.memory_files().map(Path::to_path_buf));
        }
        Ok((images, memory))
    }
}

/// Says whether a file is there and can have something below it.
fn is_image(file: &Path) -> bool {
    file.is_file() && !is_ram(file)
}

/// Says by a file's name that it holds a guest's RAM, or what belongs to that.
pub(super) fn is_ram(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ["ram", "devices", "restore"].iter().any(|known| ending == *known))
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
            disk.kind == Some(SnapshotKind::Internal) && disk.file.as_deref() == Some(file)
        };
        self.nodes.iter().find(|node| node.snapshot.disks.iter().any(holds)).map(|node| node.name())
    }

    /// Says whether a file came to be by snapshots, so that it may go when nothing needs it: it is an overlay that a
    /// snapshot's document names, or a file of ours.
    pub fn came_from_snapshots(&self, file: &Path) -> bool {
        let is_ours = file.file_stem().and_then(|stem| stem.to_str()).and_then(maker).is_some();
        is_ours || self.nodes.iter().any(|node| node.snapshot.overlays().any(|overlay| overlay == file))
    }
}
