//! A file that was written in a guest.

use serde::{Deserialize, Serialize};

use crate::fake::record::bytes::Bytes;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredFile")]
pub struct FileRecord {
    #[serde(skip_serializing_if = "FileKind::is_file")]
    pub kind: FileKind,
    /// Of a link, what it leads to.
    pub content: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// In seconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    #[default]
    File,
    Directory,
    Link,
    /// A lower layer has it, and this one no more.
    Removed,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum StoredFile {
    /// As a hand may write it.
    Text(String),
    Whole(WholeFile),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WholeFile {
    #[serde(default)]
    kind: FileKind,
    content: Bytes,
    mode: Option<u32>,
    owner: Option<String>,
    modified: Option<u64>,
}

impl FileKind {
    fn is_file(&self) -> bool {
        *self == Self::File
    }
}

impl From<StoredFile> for FileRecord {
    fn from(stored: StoredFile) -> Self {
        match stored {
            StoredFile::Text(text) => {
                let content = Bytes(text.into_bytes());
                Self { kind: FileKind::File, content, mode: None, owner: None, modified: None }
            }
            StoredFile::Whole(WholeFile { kind, content, mode, owner, modified }) => {
                Self { kind, content, mode, owner, modified }
            }
        }
    }
}
