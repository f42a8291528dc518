//! Layers: what each overlay holds, and what a guest sees through a chain of them.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::{Because, Error, Result};
use crate::fake::record::file::FileRecord;
use crate::fake::record::state::{DomainRecord, Files, Layer, NeighbourRecord, State};
use crate::hypervisor::{Neighbour, Neighbours, SnapshotKind};

impl State {
    /// Makes an overlay, and an empty file in its place if its directory exists: code that counts and removes layers
    /// looks at the real files.
    pub fn create_overlay(&mut self, overlay: &Path, backing: &Path) -> Result<()> {
        let failed = || format!("cannot create the overlay `{}` on `{}`", overlay.display(), backing.display());
        if overlay == backing {
            return Err(Error::failed(failed()).cause("it cannot be its own backing file"));
        }
        if let Some(lost) = self.lost_layer(backing) {
            return Err(Error::failed(failed()).cause(format!("`{}` is gone", lost.display())));
        }
        self.add_layer(overlay, Some(backing), Files::new()).because(failed)
    }

    /// Copies what a guest sees on `from` into a layer without a backing file. An image that was never written to is
    /// unknown here, and its copy is empty.
    pub fn copy_image(&mut self, from: &Path, to: &Path) -> Result<()> {
        let failed = || format!("cannot create `{}`", to.display());
        if let Some(lost) = self.lost_layer(from) {
            return Err(Error::failed(failed()).cause(format!("`{}` is gone", lost.display())));
        }
        let files = self.visible(from);
        self.add_layer(to, None, files).because(failed)
    }

    /// Copies what a guest saw when an internal snapshot was taken into a layer without a backing file.
    pub fn copy_internal(&mut self, image: &Path, snapshot: &str, to: &Path) -> Result<()> {
        let failed = || format!("cannot copy the snapshot `{snapshot}` of `{}` to `{}`", image.display(), to.display());
        if let Some(lost) = self.lost_layer(image) {
            return Err(Error::failed(failed()).cause(format!("`{}` is gone", lost.display())));
        }
        let layer = self.layers.get(image);
        let held = layer.and_then(|layer| layer.snapshots.get(snapshot));
        let held = held.ok_or_else(|| Error::failed(failed()).cause("Failed to load snapshot: Can't find snapshot"))?;
        let below = layer.and_then(|layer| layer.backing.as_deref());
        let mut files = below.map(|below| self.visible(below)).unwrap_or_default();
        files.extend(held.files.clone());
        self.add_layer(to, None, files).because(failed)
    }

    /// Copies the backing images of an unused image into it.
    pub fn flatten(&mut self, image: &Path) -> Result<()> {
        let failed = || Error::failed(format!("cannot make `{}` stand alone", image.display()));
        if self.user_of(image, None).is_some() {
            return Err(failed().cause("Failed to get \"write\" lock"));
        }
        self.stand_alone(image).map_err(|cause| failed().cause(cause))
    }

    /// Copies a disk's backing layers into its own layer. What internal snapshots hold of the layers below is lost, as
    /// in QEMU.
    pub fn stand_alone(&mut self, disk: &Path) -> Result<(), String> {
        if let Some(lost) = self.lost_layer(disk) {
            return Err(format!("`{}` is gone", lost.display()));
        }
        let files = self.visible(disk);
        let layer = self.layer_mut(disk);
        layer.files = files;
        layer.backing = None;
        Ok(())
    }

    pub fn add_layer(&mut self, path: &Path, backing: Option<&Path>, files: Files) -> std::io::Result<()> {
        let has_file = path.parent().is_some_and(Path::is_dir);
        if has_file {
            File::create(path)?;
        }
        let layer = Layer { backing: backing.map(Path::to_path_buf), has_file, files, ..Layer::default() };
        self.layers.insert(path.to_path_buf(), layer);
        Ok(())
    }

    /// Returns the layer at `path`, which is unknown until something is written to it.
    pub fn layer_mut(&mut self, path: &Path) -> &mut Layer {
        let unknown = || Layer { has_file: path.exists(), ..Layer::default() };
        self.layers.entry(path.to_path_buf()).or_insert_with(unknown)
    }

    /// Says whether there is a file at `path`, a real one or one that only the state knows.
    pub fn has_image(&self, path: &Path) -> bool {
        path.exists() || self.layers.get(path).is_some_and(|layer| !layer.has_file)
    }

    /// Reads a file as a guest on `disk` sees it: the nearest layer that has it wins.
    pub fn read_file(&self, disk: &Path, path: &str) -> Option<&FileRecord> {
        self.chain(disk).find_map(|(_, layer)| layer.files.get(path))
    }

    /// Writes a file into the layer at `disk` and no other.
    pub fn write_file(&mut self, disk: &Path, path: &str, file: FileRecord) {
        self.layer_mut(disk).files.insert(path.to_string(), file);
    }

    /// Lists every file that a guest on `disk` sees.
    pub fn visible(&self, disk: &Path) -> Files {
        let chain: Vec<&Files> = self.chain(disk).map(|(_, layer)| &layer.files).collect();
        chain.into_iter().rev().flatten().map(|(path, file)| (path.clone(), file.clone())).collect()
    }

    /// Finds a layer below `disk` whose real file was removed.
    pub fn lost_layer(&self, disk: &Path) -> Option<&Path> {
        self.chain(disk).find(|(path, layer)| layer.has_file && !path.exists()).map(|(path, _)| path)
    }

    /// Finds the snapshot, as `machine/snapshot`, whose layer is the nearest below `disk`.
    pub fn snapshot_below(&self, disk: &Path) -> Option<String> {
        self.backing_chain(disk).iter().find_map(|path| self.snapshot_on(path))
    }

    fn snapshot_on(&self, disk: &Path) -> Option<String> {
        self.domains.iter().find_map(|(domain, record)| {
            let found = record.snapshots.iter().find(|(_, snapshot)| {
                let mut external = snapshot.disks.iter().filter(|(_, member)| member.kind == SnapshotKind::External);
                external.any(|(target, _)| snapshot.document.disks.get(target).and_then(|it| it.place()) == Some(disk))
            });
            found.map(|(name, _)| format!("{domain}/{name}"))
        })
    }

    /// Lists the backing files of `disk`.
    pub fn backing_chain(&self, disk: &Path) -> Vec<PathBuf> {
        self.chain(disk).filter_map(|(_, layer)| layer.backing.clone()).collect()
    }

    /// Lists the file directly below an image, whatever path names the image.
    pub fn depends_on(&self, image: &Path) -> Result<Vec<PathBuf>> {
        let real = |path: &Path| std::fs::canonicalize(path).ok();
        let is_it =
            |path: &Path| path.file_name() == image.file_name() && real(path).is_some_and(|it| Some(it) == real(image));
        let by_another_path = || self.layers.iter().find(|(path, _)| is_it(path)).map(|(_, layer)| layer);
        let Some(layer) = self.layers.get(image).or_else(by_another_path) else { return Ok(Vec::new()) };
        if layer.damaged {
            return Err(
                Error::failed(format!("cannot read the image `{}`", image.display())).cause("its header is damaged")
            );
        }
        Ok(layer.backing.iter().cloned().collect())
    }

    pub fn neighbours(&self) -> Neighbours {
        let mut neighbours = Neighbours::default();
        for (uri, record) in &self.neighbours {
            match record {
                NeighbourRecord::Silent(why) => neighbours.silent.push((uri.clone(), why.clone())),
                NeighbourRecord::Domains(domains) => {
                    neighbours.domains.extend(domains.iter().map(|(domain, files)| Neighbour {
                        connection: uri.clone(),
                        domain: domain.clone(),
                        files: files.clone(),
                    }));
                }
            }
        }
        neighbours
    }

    /// Finds the domain whose guest uses a file, leaving one domain out.
    pub fn user_of(&self, place: &Path, except: Option<&str>) -> Option<&str> {
        let uses = |record: &&DomainRecord| {
            record.is_active()
                && except != Some(record.document.name.as_str())
                && record.now().places().any(|other| other == place)
        };
        self.domains.values().find(uses).map(|record| record.document.name.as_str())
    }

    /// Goes from `disk` down its backing chain, as far as the state knows it.
    fn chain(&self, disk: &Path) -> impl Iterator<Item = (&Path, &Layer)> + use<'_> {
        let layer = |path: &Path| self.layers.get_key_value(path).map(|(path, layer)| (path.as_path(), layer));
        let first = layer(disk);
        let below = move |(_, upper): &(&Path, &Layer)| upper.backing.as_deref().and_then(layer);
        // A hand-written file may hold a cycle; no chain is longer than there are layers.
        std::iter::successors(first, below).take(self.layers.len())
    }
}
