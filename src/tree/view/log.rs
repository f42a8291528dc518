//! The operations that built a snapshot, and the record of its last failed build.

use serde::Serialize;

use crate::error::Result;
use crate::name::SnapshotPath;
use crate::tree::kept::failed_node::{FailedNode, failed_node};
use crate::tree::machine::engine::Engine;
use crate::tree::record::journal::{Journal, JournalEntry};
use crate::tree::record::key::NamedInputs;
use crate::tree::record::operation::{Bytes, Outcome};

/// The operations that built a snapshot. This is the schema of `snaptree log --json`.
#[derive(Clone, Debug, Serialize)]
pub struct Log {
    pub machine: String,
    pub name: String,
    pub inputs: NamedInputs,
    pub operations: Vec<LoggedOperation>,
    /// The last failed build of that name.
    pub failed: Option<FailedLog>,
}

#[derive(Clone, Debug, Serialize)]
pub struct LoggedOperation {
    /// Counts from 1.
    pub number: usize,
    pub operation: String,
    /// In milliseconds.
    pub took: u64,
    pub outcome: Outcome,
}

/// A failed node in a list.
#[derive(Clone, Debug, Serialize)]
pub struct FailedView {
    pub name: String,
    /// Seconds since the epoch.
    pub when: u64,
    /// The error's message, in one line.
    pub error: String,
}

/// The record of a failed node, the field `failed` of `snaptree log --json`.
#[derive(Clone, Debug, Serialize)]
pub struct FailedLog {
    /// Seconds since the epoch.
    pub when: u64,
    /// The parent that it was built on.
    pub parent: String,
    pub parent_key: String,
    /// The error as it was reported.
    pub error: String,
    /// The operations that succeeded.
    pub operations: Vec<LoggedOperation>,
    /// The operation that failed; none when the step itself raised an error.
    pub operation: Option<FailedOperation>,
}

#[derive(Clone, Debug, Serialize)]
pub struct FailedOperation {
    /// Counts from 1.
    pub number: usize,
    pub operation: String,
    /// In milliseconds.
    pub took: u64,
    /// The exit status of its command; none if the command was stopped, or if there was none.
    pub status: Option<i32>,
    pub stdout: Bytes,
    pub stderr: Bytes,
}

/// Returns the operations that built a snapshot, and its last failed build. A snapshot that no script made has no
/// log.
pub fn log(engine: &Engine, path: &SnapshotPath) -> Result<Log> {
    let machine = engine.existing_now(&path.machine)?;
    let failed = FailedNode::json_dir(&machine.directory).get(&path.snapshot);
    let journal = match machine.node(path.snapshot.as_str()) {
        None if failed.is_some() => Journal::default(),
        _ => {
            let node = machine.existing(&path.snapshot)?;
            let is_branch = node.record.as_ref().is_some_and(|record| record.built_on.is_some());
            if is_branch { node.journal()? } else { Journal::default() }
        }
    };
    let (machine, name) = (machine.name.to_string(), path.snapshot.to_string());
    let inputs = journal.inputs.clone();
    Ok(Log { machine, name, inputs, operations: logged(journal), failed: failed.map(failed_build) })
}

/// Returns the record of a branch's last failed build.
pub fn failed_log(engine: &Engine, path: &SnapshotPath) -> Result<Log> {
    let machine = engine.existing_now(&path.machine)?;
    let failed = failed_node(&machine.name, &machine.directory, &path.snapshot)?;
    let (machine, name) = (machine.name.to_string(), path.snapshot.to_string());
    let inputs = failed.journal.inputs.clone();
    Ok(Log { machine, name, inputs, operations: Vec::new(), failed: Some(failed_build(failed)) })
}

pub fn failed_view(failed: &FailedNode) -> FailedView {
    let error = failed.error.lines().next().unwrap_or_default().to_string();
    FailedView { name: failed.name.to_string(), when: failed.when, error }
}

pub fn failed_build(failed: FailedNode) -> FailedLog {
    let number = failed.journal.entries.len() + 1;
    FailedLog {
        when: failed.when,
        parent: failed.parent.name,
        parent_key: failed.parent.key,
        error: failed.error,
        operations: logged(failed.journal),
        operation: failed.attempt.map(|attempt| FailedOperation {
            number,
            operation: attempt.operation.to_string(),
            took: attempt.took,
            status: attempt.status,
            stdout: attempt.stdout,
            stderr: attempt.stderr,
        }),
    }
}

/// Numbers the operations of a journal.
pub fn logged(journal: Journal) -> Vec<LoggedOperation> {
    let number = |(n, entry): (usize, JournalEntry)| LoggedOperation {
        number: n + 1,
        operation: entry.operation.to_string(),
        took: entry.took,
        outcome: entry.outcome,
    };
    journal.entries.into_iter().enumerate().map(number).collect()
}
