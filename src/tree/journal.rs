//! The record of a step: its operations in order, with what came of each.

use serde::{Deserialize, Serialize};

use super::key::{BranchKey, SCHEMA};
use super::operation::{Operation, Outcome};
use crate::error::{Because, Error, Result};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub operation: Operation,
    pub outcome: Outcome,
    /// In milliseconds.
    pub took: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    pub entries: Vec<Entry>,
}

impl Journal {
    /// Returns the key of the node that these operations make of the parent with the key `parent`.
    pub fn key(&self, parent: &str) -> String {
        let operations = self.entries.iter().map(|entry| &entry.operation).collect();
        BranchKey { schema: SCHEMA, parent, operations }.digest()
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
