//! Records about branches outside of the tree: a file for each branch of a machine, beside the layers.

use std::fs;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Because, Error, Result};
use crate::name::SnapshotName;

/// The files of one kind, each with a `T` in it.
pub struct JsonDir<T> {
    directory: PathBuf,
    of: PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned> JsonDir<T> {
    pub fn of(machine_directory: &Path, kind: &str) -> Self {
        Self { directory: machine_directory.join(kind), of: PhantomData }
    }

    fn path(&self, branch: &SnapshotName) -> PathBuf {
        // Two names may have one slug.
        let digest = blake3::hash(branch.as_str().as_bytes()).to_hex();
        self.directory.join(format!("{}-{}.json", branch.slug(), &digest[..8]))
    }

    /// Adds a record, replacing the earlier one of that branch.
    pub fn keep(&self, branch: &SnapshotName, what: &T) -> Result<()> {
        let path = self.path(branch);
        let cannot = || format!("cannot write `{}`", path.display());
        let json = serde_json::to_vec(what).map_err(|cause| Error::bug(cannot()).cause(cause))?;
        crate::paths::write_whole(&path, &json).because(cannot)
    }

    pub fn get(&self, branch: &SnapshotName) -> Option<T> {
        read(&self.path(branch))
    }

    /// Lists the records in the order of the files' names, without those that cannot be read.
    pub fn all(&self) -> Vec<T> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        paths.sort();
        paths.iter().filter_map(|path| read(path)).collect()
    }

    /// Removes the record of a branch.
    pub fn take(&self, branch: &SnapshotName) -> Option<T> {
        let path = self.path(branch);
        let what = read(&path);
        let _ = fs::remove_file(path);
        what
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_branch_has_a_place_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let json_dir = JsonDir::<u32>::of(directory.path(), "numbers");
        assert_eq!(json_dir.all(), Vec::<u32>::new());
        let [one, other] = ["a b", "a?b"].map(|name| SnapshotName::new(name).unwrap());
        json_dir.keep(&one, &1).unwrap();
        json_dir.keep(&other, &2).unwrap();
        json_dir.keep(&one, &3).unwrap();
        assert_eq!((json_dir.get(&one), json_dir.get(&other)), (Some(3), Some(2)));
        assert_eq!(json_dir.take(&one), Some(3));
        assert_eq!((json_dir.take(&one), json_dir.all()), (None, vec![2]));
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let json_dir = JsonDir::<u32>::of(directory.path(), "numbers");
        let name = SnapshotName::new("a").unwrap();
        json_dir.keep(&name, &1).unwrap();
        fs::write(directory.path().join("numbers/b.json"), "{").unwrap();
        fs::write(directory.path().join("numbers/c.part"), "2").unwrap();
        assert_eq!(json_dir.all(), [1]);
    }
}
