//! A replay of a branch: its journal, and how far a step matched it.

use parking_lot::{Mutex, MutexGuard};

use crate::tree::record::journal::Journal;
use crate::tree::record::operation::Operation;

/// Shows how far the journal of a node answers a step, while the step is run against it and afterwards.
pub struct Replay {
    journal: Journal,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    /// How many operations were answered.
    next: usize,
    /// The first operation that differs from the recorded one.
    wanted: Option<Operation>,
}

impl Replay {
    pub fn of(journal: Journal) -> Self {
        Self { journal, progress: Mutex::default() }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock()
    }

    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Returns how many operations it has answered.
    pub fn matched(&self) -> usize {
        self.progress().next
    }

    /// Notes that one more operation was answered.
    pub fn answered(&self) {
        self.progress().next += 1;
    }

    /// Notes which operation could not be answered.
    pub fn missed(&self, wanted: Operation) {
        self.progress().wanted = Some(wanted);
    }

    /// Returns the operation that it could not answer.
    pub fn wanted(&self) -> Option<Operation> {
        self.progress().wanted.clone()
    }

    /// Returns whether it has answered every operation, with none left over.
    pub fn has_gone_through(&self) -> bool {
        let progress = self.progress();
        progress.wanted.is_none() && progress.next == self.journal.entries.len()
    }
}
