//! The undo log: the state of a machine before each change, kept for `undo`, one file per change.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Because, Error, Result};
use crate::hypervisor::{DiskFile, Image, Snapshot};
use crate::tree::kept::change_name::ChangeName;
use crate::tree::kept::machine_state::MachineState;

/// One change that can be undone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UndoEntry {
    pub number: u64,
    /// Seconds since the epoch.
    pub created: u64,
    #[serde(flatten)]
    pub what: ChangeName,
    pub kept: Kept,
    /// While the change is under way: how to recognise that it was made, if the process dies before it records that.
    pub unfinished: Option<Unfinished>,
}

/// What is needed to undo a change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kept {
    /// The earlier state of the machine.
    State(MachineState),
    /// The earlier state of the machine, in an internal snapshot that its tree does not show.
    Inside { snapshot: Box<Snapshot>, current: Option<String> },
    /// Deleted snapshots, parents first.
    Deleted(Deleted),
    /// Snapshots that were put back.
    PutBack {
        names: Vec<String>,
        /// Whether only their metadata was deleted, so that their files stay when they are deleted again.
        #[serde(default)]
        metadata_only: bool,
    },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deleted {
    pub snapshots: Vec<Snapshot>,
    /// The children that moved to another parent, with their earlier parent.
    pub moved: Vec<(String, String)>,
    /// Whether to leave their files alone, because only the metadata was deleted.
    pub metadata_only: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Unfinished {
    /// Files that the change makes.
    pub made: Vec<PathBuf>,
    /// The files of the machine's disks once the change is made.
    pub disks: Vec<PathBuf>,
    /// The snapshot that becomes the current one.
    pub current: Option<String>,
}

/// The entries of one machine.
pub struct UndoLog(PathBuf);

impl UndoLog {
    pub fn of(machine_directory: &Path) -> Self {
        Self(machine_directory.join("undo"))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.0.join(format!("{number:06}.json"))
    }

    /// Lists the entries, the oldest first, without those that cannot be read.
    pub fn entries(&self) -> Vec<UndoEntry> {
        let Ok(files) = fs::read_dir(&self.0) else { return Vec::new() };
        let read = |path: PathBuf| serde_json::from_slice::<UndoEntry>(&fs::read(path).ok()?).ok();
        let mut entries: Vec<UndoEntry> = files.flatten().filter_map(|file| read(file.path())).collect();
        entries.sort_by_key(|entry| entry.number);
        entries
    }

    /// Lists the snapshots whose deletion can be undone, the oldest deletion first.
    pub fn deleted(&self) -> Vec<Snapshot> {
        let of_entry = |entry: UndoEntry| match entry.kept {
            Kept::Deleted(deleted) => deleted.snapshots,
            _ => Vec::new(),
        };
        self.entries().into_iter().flat_map(of_entry).collect()
    }

    /// Adds an entry for a change that is about to be made.
    pub fn begin(&self, what: ChangeName, kept: Kept, unfinished: Unfinished) -> Result<UndoEntry> {
        let number = self.entries().last().map_or(1, |entry| entry.number + 1);
        let entry = UndoEntry { number, created: crate::clock::now(), what, kept, unfinished: Some(unfinished) };
        self.write(&entry)?;
        Ok(entry)
    }

    /// Records that the change was made.
    pub fn finish(&self, mut entry: UndoEntry) -> Result<()> {
        entry.unfinished = None;
        self.write(&entry)
    }

    pub fn remove(&self, entry: &UndoEntry) -> Result<()> {
        let path = self.path(entry.number);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::failed(format!("cannot remove `{}`", path.display())).cause(error))
            }
            _ => Ok(()),
        }
    }

    pub fn write(&self, entry: &UndoEntry) -> Result<()> {
        let json = serde_json::to_vec(entry).map_err(|cause| Error::bug("cannot write an undo entry").cause(cause))?;
        self.replace(&self.path(entry.number), &json)
    }

    /// Lists the files whose last snapshot was forgotten while something still depended on them.
    pub fn leftovers(&self) -> BTreeSet<PathBuf> {
        let read = fs::read(self.leftovers_path()).ok();
        read.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default()
    }

    pub fn set_leftovers(&self, files: &BTreeSet<PathBuf>) -> Result<()> {
        if *files == self.leftovers() {
            return Ok(());
        }
        if files.is_empty() {
            let _ = fs::remove_file(self.leftovers_path());
            return Ok(());
        }
        let json = serde_json::to_vec(files).map_err(|cause| Error::bug("cannot write a list").cause(cause))?;
        self.replace(&self.leftovers_path(), &json)
    }

    fn leftovers_path(&self) -> PathBuf {
        self.0.join("leftovers")
    }

    fn replace(&self, path: &Path, content: &[u8]) -> Result<()> {
        let cannot = || format!("cannot write `{}`", path.display());
        crate::paths::write_whole(path, content).because(cannot)
    }
}

impl UndoEntry {
    /// Lists the files that the entry keeps.
    pub fn files(&self) -> Vec<PathBuf> {
        match &self.kept {
            Kept::State(state) => state.files().map(Path::to_path_buf).collect(),
            Kept::Inside { snapshot, .. } => snapshot.files().map(Path::to_path_buf).collect(),
            Kept::Deleted(deleted) => {
                deleted.snapshots.iter().flat_map(Snapshot::files).map(Path::to_path_buf).collect()
            }
            Kept::PutBack { .. } => Vec::new(),
        }
    }

    /// Lists the images among them.
    pub fn images(&self) -> Vec<Image> {
        match &self.kept {
            Kept::State(state) => state.disks.iter().map(DiskFile::image).collect(),
            Kept::Inside { snapshot, .. } => snapshot.images(),
            Kept::Deleted(deleted) => deleted.snapshots.iter().flat_map(Snapshot::images).collect(),
            Kept::PutBack { .. } => Vec::new(),
        }
    }

    /// Describes what undoing it would do.
    pub fn effect(&self) -> String {
        let named = |names: &mut dyn Iterator<Item = &str>| {
            names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        match &self.kept {
            Kept::State(state) => {
                let place = state.current.as_ref().map(|current| format!(" after `{current}`")).unwrap_or_default();
                let ram = if state.memory.is_some() { ", with its RAM" } else { "" };
                format!("go back to the state{place}{ram}")
            }
            Kept::Inside { current, .. } => {
                let place = current.as_ref().map(|current| format!(" after `{current}`")).unwrap_or_default();
                format!("go back to the state{place}")
            }
            Kept::Deleted(deleted) => {
                format!("put back {}", named(&mut deleted.snapshots.iter().map(|snapshot| snapshot.name.as_str())))
            }
            Kept::PutBack { names, .. } => format!("delete {}", named(&mut names.iter().map(String::as_str))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::record::example::snapshot;

    fn put_back(name: &str) -> Kept {
        Kept::PutBack { names: vec![name.to_string()], metadata_only: false }
    }

    fn undo_log() -> (tempfile::TempDir, UndoLog) {
        let directory = tempfile::tempdir().unwrap();
        let undo_log = UndoLog::of(directory.path());
        (directory, undo_log)
    }

    fn begin(undo_log: &UndoLog, what: &str) -> UndoEntry {
        undo_log.begin(ChangeName::new(what), put_back(what), Unfinished::default()).unwrap()
    }

    fn numbers(undo_log: &UndoLog) -> Vec<u64> {
        undo_log.entries().iter().map(|entry| entry.number).collect()
    }

    #[test]
    fn entries_are_numbered_and_listed_in_order() {
        let (_directory, undo_log) = undo_log();
        assert!(undo_log.entries().is_empty());
        for n in 1..=12 {
            assert_eq!(begin(&undo_log, "x").number, n);
        }
        assert_eq!(numbers(&undo_log), (1..=12).collect::<Vec<_>>());
    }

    #[test]
    fn an_entry_is_unfinished_until_it_is_said_to_be_finished() {
        let (_directory, undo_log) = undo_log();
        let entry = begin(&undo_log, "x");
        assert!(undo_log.entries()[0].unfinished.is_some());
        undo_log.finish(entry).unwrap();
        assert!(undo_log.entries()[0].unfinished.is_none());
        assert_eq!(undo_log.entries()[0].what, ChangeName::new("x"));
    }

    #[test]
    fn a_number_below_the_newest_is_not_given_again() {
        let (_directory, undo_log) = undo_log();
        let first = begin(&undo_log, "a");
        begin(&undo_log, "b");
        undo_log.remove(&first).unwrap();
        undo_log.remove(&first).unwrap();
        assert_eq!(numbers(&undo_log), [2]);
        assert_eq!(begin(&undo_log, "c").number, 3);
    }

    #[test]
    fn what_cannot_be_read_is_left_alone() {
        let (directory, undo_log) = undo_log();
        begin(&undo_log, "a");
        let damaged = directory.path().join("undo/000002.json");
        fs::write(&damaged, "{").unwrap();
        assert_eq!(numbers(&undo_log), [1]);
        assert!(damaged.exists());
    }

    #[test]
    fn an_entry_of_an_earlier_version_is_read() {
        let (directory, undo_log) = undo_log();
        let json = r#"{"number": 3, "created": 7, "what": "undo: delete b", "unfinished": null,
            "kept": {"kind": "put_back", "names": ["b"]}}"#;
        fs::create_dir(directory.path().join("undo")).unwrap();
        fs::write(directory.path().join("undo/000003.json"), json).unwrap();
        let [entry] = <[UndoEntry; 1]>::try_from(undo_log.entries()).unwrap();
        assert_eq!((entry.number, entry.effect().as_str()), (3, "delete `b`"));
        assert_eq!(entry.what, ChangeName::new("delete b").undone());
    }

    #[test]
    fn leftovers_are_a_list_of_their_own() {
        let (directory, undo_log) = undo_log();
        undo_log.set_leftovers(&BTreeSet::new()).unwrap();
        assert!(!directory.path().join("undo").exists(), "nothing is written about nothing");
        let files = BTreeSet::from([PathBuf::from("/vm/a")]);
        undo_log.set_leftovers(&files).unwrap();
        assert_eq!((undo_log.leftovers(), numbers(&undo_log)), (files, Vec::new()));
        undo_log.set_leftovers(&BTreeSet::new()).unwrap();
        assert_eq!(undo_log.leftovers(), BTreeSet::new());
    }

    #[test]
    fn an_entry_knows_its_files_and_says_what_undo_would_do() {
        let (_directory, undo_log) = undo_log();
        let deleted = |names: &[&str]| {
            let snapshots = names.iter().map(|name| snapshot(name, None)).collect();
            Kept::Deleted(Deleted { snapshots, moved: Vec::new(), metadata_only: false })
        };
        undo_log.begin(ChangeName::new("delete a, b"), deleted(&["a", "b"]), Unfinished::default()).unwrap();
        let entry = &undo_log.entries()[0];
        let files = ["/vm/a.qcow2", "/vm/a.next", "/vm/b.qcow2", "/vm/b.next"].map(PathBuf::from);
        assert_eq!(entry.files(), files);
        assert_eq!(entry.effect(), "put back `a`, `b`");
        assert_eq!(undo_log.deleted().iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(begin(&undo_log, "c").effect(), "delete `c`");
        let inside = Kept::Inside { snapshot: Box::new(snapshot("s", None)), current: Some("a".into()) };
        let entry = undo_log.begin(ChangeName::new("revert to a"), inside, Unfinished::default()).unwrap();
        assert_eq!(entry.effect(), "go back to the state after `a`");
    }
}
