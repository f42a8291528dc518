//! Host files that went into guests, by content, to name the file that changed if an operation has only digests.

use parking_lot::Mutex;
use std::collections::HashMap;

use crate::tree::record::operation::Content;

/// The names of the host files that a script has read so far.
#[derive(Default)]
pub struct HostFiles(Mutex<HashMap<String, String>>);

impl HostFiles {
    /// Records which file has this content.
    pub fn name(&self, content: &Content, path: &str) {
        let mut names = self.0.lock();
        names.insert(content.digest.clone(), path.to_string());
    }

    /// Returns the file that has this content.
    pub fn file_of(&self, content: &Content) -> Option<String> {
        self.0.lock().get(&content.digest).cloned()
    }
}
