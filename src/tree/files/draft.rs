//! The files of a root whose domain is not defined yet. A note in the directory of a new machine names their owner,
//! since nothing else would if the process is killed.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Because, Error, Result};
use crate::name::MachineName;
use crate::tree::files::store::{Store, maker};

/// The ending of the notes.
pub const ENDING: &str = "draft";

/// The note in a directory about the machine that it is going to belong to.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    pub connection: String,
    pub machine: MachineName,
}

impl Note {
    /// Returns the note for the directory of a machine that is about to be made.
    pub fn of(connection: String, machine: &MachineName) -> Self {
        Self { connection, machine: machine.clone() }
    }
}

/// The files; they are removed if the domain cannot be defined.
pub struct Draft {
    pub directory: PathBuf,
    files: Vec<PathBuf>,
    note: Option<PathBuf>,
}

impl Draft {
    /// Begins a draft in an existing directory.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, files: Vec::new(), note: None }
    }

    /// Notes which machine the directory is going to belong to.
    pub fn sign(&mut self, store: &Store, note: &Note) -> Result<()> {
        let path = store.new_file(&self.directory, "machine", ENDING)?;
        let cannot = || format!("cannot write `{}`", path.display());
        let json = serde_json::to_vec(note).map_err(|cause| Error::bug(cannot()).cause(cause))?;
        self.note = Some(path.clone());
        fs::write(&path, json).because(cannot)
    }

    pub fn add(&mut self, file: PathBuf) -> PathBuf {
        self.files.push(file.clone());
        file
    }

    /// Gives the files to the domain, which is now defined.
    pub fn finish(mut self) {
        self.files.clear();
        if let Some(note) = self.note.take() {
            let _ = fs::remove_file(note);
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.files.is_empty() && self.note.is_none() {
            return;
        }
        for file in self.files.iter().chain(&self.note) {
            let _ = fs::remove_file(file);
        }
        // The directory stays if the machine existed before, since it is not empty then.
        let _ = fs::remove_dir(&self.directory);
    }
}

impl Store {
    /// Lists the directories begun by processes that are gone, for machines that have no domain.
    pub fn abandoned(&self, note: &Note) -> Vec<PathBuf> {
        let is_left = |path: &Path| {
            let owner = path.file_stem().and_then(|stem| stem.to_str()).and_then(maker);
            let says = || serde_json::from_slice::<Note>(&fs::read(path).ok()?).ok();
            path.extension().is_some_and(|ending| ending == ENDING)
                && says().is_some_and(|says| says == *note)
                && owner.is_some_and(|owner| !self.is_alive(&owner))
        };
        let mut directories = self.directories_of(&note.machine);
        directories.retain(|directory| {
            fs::read_dir(directory).is_ok_and(|files| files.flatten().any(|file| is_left(&file.path())))
        });
        directories
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_drafts_of_processes_that_are_gone_are_abandoned() {
        let root = tempfile::tempdir().unwrap();
        let [here, gone] = [(); 2].map(|()| Store::new(root.path().to_path_buf()));
        let note = |machine: &str, connection: &str| Note {
            connection: connection.to_string(),
            machine: MachineName::new(machine).unwrap(),
        };
        let begin = |store: &Store, uuid: &str, note: &Note| {
            let directory = store.directory_for(&note.machine, uuid);
            store.create_directory(&directory).unwrap();
            let mut draft = Draft::new(directory.clone());
            draft.sign(store, note).unwrap();
            fs::write(draft.add(store.new_file(&directory, "root", "qcow2").unwrap()), "").unwrap();
            (directory, draft)
        };
        let mine = note("m?", "qemu:///system");
        let (left, draft) = begin(&gone, "00000000", &mine);
        std::mem::forget(draft);
        let (_, alive) = begin(&here, "11111111", &mine);
        let (finished, draft) = begin(&gone, "22222222", &mine);
        draft.finish();
        let (failed, draft) = begin(&gone, "33333333", &mine);
        drop(draft);
        // They have the same slug.
        std::mem::forget(begin(&gone, "44444444", &note("m*", "qemu:///system")));
        std::mem::forget(begin(&gone, "55555555", &note("m?", "qemu:///embed")));
        assert_eq!(here.abandoned(&mine), Vec::<PathBuf>::new());
        drop(gone);
        assert_eq!(here.abandoned(&mine), [left]);
        assert_eq!(fs::read_dir(finished).unwrap().count(), 1);
        assert!(!failed.exists());
        drop(alive);
    }
}
