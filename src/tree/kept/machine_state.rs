//! The whole state of a machine at some moment, and the state that it is to have next.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::hypervisor::{DiskChanges, DiskFile, Document, DomainState, MappedMemory, Start};

/// The whole state of a machine at some moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MachineState {
    pub document: Document,
    /// The disks that a guest writes to.
    pub disks: Vec<DiskFile>,
    pub state: DomainState,
    /// The file with the RAM, if the guest was running.
    pub memory: Option<PathBuf>,
    /// The name of the current snapshot.
    pub current: Option<String>,
    /// The backing files of the disks, which must not change as long as this is kept.
    #[serde(default)]
    pub below: Vec<BackingFile>,
}

/// A backing file as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackingFile {
    file: PathBuf,
    inode: u64,
    /// When it was last written to: seconds and nanoseconds.
    written: (i64, i64),
}

impl BackingFile {
    pub fn of(file: PathBuf) -> Option<Self> {
        let metadata = std::fs::metadata(&file).ok()?;
        Some(Self { file, inode: metadata.ino(), written: (metadata.mtime(), metadata.mtime_nsec()) })
    }
}

/// The state that a machine is to have next.
pub struct NextState {
    pub document: Document,
    pub disks: DiskChanges,
    /// The snapshot that becomes the current one.
    pub current: Option<String>,
    pub guest: NextGuest,
}

/// What happens to the guest once its disks are in place.
#[derive(Debug, PartialEq, Eq)]
pub enum NextGuest {
    Off,
    Boot {
        start: Start,
        /// Disks to attach that it does not start with.
        attached: Vec<DiskFile>,
    },
    Resume {
        memory: PathBuf,
        paused: bool,
    },
    /// It resumes from a guest that was frozen with its RAM in a file; the file does not change.
    Wake {
        memory: MappedMemory,
        paused: bool,
    },
}

impl MachineState {
    /// Returns a backing file that has changed since.
    pub fn changed_below(&self) -> Option<&Path> {
        let has_changed = |below: &&BackingFile| BackingFile::of(below.file.clone()).as_ref() != Some(*below);
        self.below.iter().find(has_changed).map(|below| below.file.as_path())
    }

    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.disks.iter().map(|disk| disk.file.as_path()).chain(self.memory.as_deref())
    }

    /// Returns how the guest continues when this state is restored.
    pub fn next_guest(&self) -> NextGuest {
        let paused = self.state == DomainState::Paused;
        match &self.memory {
            Some(memory) => NextGuest::Resume { memory: memory.clone(), paused },
            None if self.state.is_active() => {
                NextGuest::Boot { start: Start { paused, reset_nvram: false }, attached: Vec::new() }
            }
            None => NextGuest::Off,
        }
    }

    pub fn target(&self) -> NextState {
        NextState {
            document: self.document.clone(),
            disks: self.disks.clone().into(),
            current: self.current.clone(),
            guest: self.next_guest(),
        }
    }
}
