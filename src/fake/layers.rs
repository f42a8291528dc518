//! Layers: what each overlay holds, and what a guest sees through a chain of them.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::state::{FileRecord, Layer, State};
use crate::error::{Because, Error, Result};

impl State {
    /// Makes an overlay, and an empty file in its place where there is a directory for it: whoever counts and removes
    /// layers looks at the real files.
    pub fn create_overlay(&mut self, overlay: &Path, backing: &Path) -> Result<()> {
        let failed = || format!("cannot create the overlay `{}` on `{}`", overlay.display(), backing.display());
        if overlay == backing {
            return Err(Error::failed(failed()).cause("it cannot be its own backing file"));
        }
        if let Some(lost) = self.lost_layer(backing) {
            return Err(Error::failed(failed()).cause(format!("`{}` is gone", lost.display())));
        }
        self.add_layer(overlay, Some(backing)).because(failed)
    }

    /// Makes an empty layer that stands on nothing, as a copied image does.
    pub fn create_layer(&mut self, layer: &Path) -> Result<()> {
        self.add_layer(layer, None).because(|| format!("cannot create `{}`", layer.display()))
    }

    fn add_layer(&mut self, path: &Path, backing: Option<&Path>) -> std::io::Result<()> {
        let has_file = path.parent().is_some_and(Path::is_dir);
        if has_file {
            File::create(path)?;
        }
        let layer = Layer { backing: backing.map(Path::to_path_buf), has_file, files: Default::default() };
        self.layers.insert(path.to_path_buf(), layer);
        Ok(())
    }

    /// Reads a file as a guest on `disk` sees it: the nearest layer that has it wins.
    pub fn read_file(&self, disk: &Path, path: &str) -> Option<&FileRecord> {
        self.chain(disk).find_map(|(_, layer)| layer.files.get(path))
    }

    /// Writes a file into the layer at `disk` and no other.
    pub fn write_file(&mut self, disk: &Path, path: &str, file: FileRecord) {
        self.layers.entry(disk.to_path_buf()).or_default().files.insert(path.to_string(), file);
    }

    /// Finds a layer below `disk` whose real file somebody has removed.
    pub fn lost_layer(&self, disk: &Path) -> Option<&Path> {
        self.chain(disk).find(|(path, layer)| layer.has_file && !path.exists()).map(|(path, _)| path)
    }

    /// Finds the snapshot, as `machine/snapshot`, whose layer is the nearest below `disk`.
    pub fn snapshot_below(&self, disk: &Path) -> Option<String> {
        self.chain(disk).skip(1).find_map(|(path, _)| self.snapshot_on(path))
    }

    fn snapshot_on(&self, disk: &Path) -> Option<String> {
        self.domains.iter().find_map(|(domain, record)| {
            let is_on = |file: &PathBuf| file == disk;
            let mut snapshots = record.snapshots.iter();
            let found = snapshots.find(|(_, snapshot)| snapshot.document.disks.values().any(is_on));
            found.map(|(name, _)| format!("{domain}/{name}"))
        })
    }

    /// Lists the layers that `disk` stands on.
    pub fn backing_chain(&self, disk: &Path) -> Vec<PathBuf> {
        self.chain(disk).skip(1).map(|(path, _)| path.to_path_buf()).collect()
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
