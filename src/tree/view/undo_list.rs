//! The changes that can be undone.

use serde::Serialize;

use crate::error::Result;
use crate::name::MachineName;
use crate::tree::kept::undo_log::{UndoEntry, UndoLog};
use crate::tree::machine::engine::Engine;

/// One change that can be undone. This is the schema of `snaptree undo --list --json`.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct UndoView {
    /// Counts up; `snaptree undo MACHINE NUMBER` undoes this change.
    pub number: u64,
    /// Seconds since the epoch.
    pub created: u64,
    /// What was done: `revert to sn02`, `delete sn03`, `undo revert to sn02`.
    pub what: String,
    /// What undoing it would do.
    pub effect: String,
}

/// Lists the changes that can be undone, the newest last.
pub fn undo_entries(engine: &Engine, machine: &MachineName) -> Result<Vec<UndoView>> {
    let machine = engine.existing(machine)?;
    let view = |entry: UndoEntry| UndoView {
        number: entry.number,
        created: entry.created,
        effect: entry.effect(),
        what: entry.what.to_string(),
    };
    Ok(UndoLog::of(&machine.directory).entries().into_iter().map(view).collect())
}
