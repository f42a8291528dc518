//! The record of a step: its operations in order, each with its result.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Because, Error, Result};
use crate::tree::record::key::{BranchKey, NamedInputs, SCHEMA};
use crate::tree::record::operation::{Bytes, Operation, Outcome};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    pub operation: Operation,
    pub outcome: Outcome,
    /// In milliseconds.
    pub took: u64,
    /// The digest of what went into the guest without the values that look random; none if no value does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<String>,
}

/// A failed operation, with its output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    pub operation: Operation,
    /// In milliseconds.
    pub took: u64,
    /// The exit status; none if the operation was stopped or runs no command.
    pub status: Option<i32>,
    pub stdout: Bytes,
    pub stderr: Bytes,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    pub entries: Vec<JournalEntry>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: NamedInputs,
    /// When the first operation began, even if a later try resumed from there: seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<u64>,
}

impl Journal {
    /// Returns the key of the node that these operations build from the parent with the key `parent`.
    pub fn key(&self, parent: &str) -> String {
        let operations = self.entries.iter().map(|entry| &entry.operation).collect();
        BranchKey { schema: SCHEMA, parent, inputs: &self.inputs, operations }.digest()
    }

    /// Returns when the first operation began, which was not later than `when`.
    pub fn begun(&self, when: u64) -> u64 {
        self.begun.unwrap_or(when).min(when)
    }

    pub fn lines(&self) -> Vec<String> {
        self.entries.iter().map(|entry| entry.operation.to_string()).collect()
    }

    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|cause| Error::bug("cannot write a journal").cause(cause))
    }

    pub fn decode(payload: &[u8]) -> Result<Self> {
        serde_json::from_slice(payload).because(|| "the journal is damaged".to_string())
    }
}
