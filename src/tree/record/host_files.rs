//! Files of the host that went into guests, by content: to say which one changed, where an operation has only digests.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::tree::record::operation::Content;

/// The names of what a script has read of the host so far.
#[derive(Default)]
pub struct Inputs(Mutex<HashMap<String, String>>);

impl Inputs {
    /// Notes which file has this content.
    pub fn name(&self, content: &Content, path: &str) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(content.digest.clone(), path.to_string());
    }

    /// Returns the file that has this content.
    pub fn file_of(&self, content: &Content) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&content.digest).cloned()
    }
}
