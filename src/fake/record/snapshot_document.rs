//! A snapshot's description, and what the two kinds of documents have in common.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Because, Result};
use crate::fake::record::document::Document;
use crate::fake::record::state::SnapshotRecord;
use crate::hypervisor::Document as HypervisorDocument;

/// A snapshot's own document; its key `snapshot` tells it from a domain's.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotDocument {
    pub name: String,
    pub snapshot: SnapshotRecord,
}

impl SnapshotDocument {
    pub fn parse(document: &HypervisorDocument) -> Result<Self> {
        serde_json::from_str(&document.0).because(|| "cannot read a fake snapshot's document".to_string())
    }

    pub fn print(name: &str, snapshot: &SnapshotRecord) -> Result<HypervisorDocument> {
        serde_json::to_string(&Self { name: name.to_string(), snapshot: snapshot.clone() })
            .map(HypervisorDocument)
            .because(|| format!("cannot write the document of fake snapshot `{name}`"))
    }
}

/// Reads a domain's document, or the domain's part of a snapshot's.
pub fn domain_in(document: &HypervisorDocument) -> Result<Document> {
    let failed = || "cannot read a fake domain's document".to_string();
    let value: serde_json::Value = serde_json::from_str(&document.0).because(failed)?;
    if value.get("snapshot").is_some() {
        return Ok(SnapshotDocument::parse(document)?.snapshot.document);
    }
    serde_json::from_value(value).because(failed)
}

/// Lists every absolute path in a document.
pub fn files_in(document: &HypervisorDocument) -> Result<Vec<PathBuf>> {
    fn collect(value: &serde_json::Value, files: &mut Vec<PathBuf>) {
        match value {
            serde_json::Value::String(text) if text.starts_with('/') => files.push(text.into()),
            serde_json::Value::Array(values) => values.iter().for_each(|value| collect(value, files)),
            serde_json::Value::Object(values) => values.values().for_each(|value| collect(value, files)),
            _ => {}
        }
    }
    let value = serde_json::from_str(&document.0).because(|| "cannot read a fake document".to_string())?;
    let mut files = Vec::new();
    collect(&value, &mut files);
    Ok(files)
}
