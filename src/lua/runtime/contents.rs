//! Contents that went into guests, by digest: journals keep only digests, but a saved recipe needs the bytes.

use parking_lot::Mutex;
use std::collections::HashMap;

use crate::tree::{Content, Operation, Payload, Request};

/// Keeps nothing until it is switched on.
#[derive(Default)]
pub struct Contents(Mutex<Option<HashMap<String, Payload>>>);

impl Contents {
    pub fn start_keeping(&self) {
        self.0.lock().get_or_insert_default();
    }

    /// Keeps the content that a request puts into a guest.
    pub fn keep(&self, request: &Request) {
        let mut kept = self.0.lock();
        let content = match &request.operation {
            Operation::Write { content, .. } | Operation::Run { stdin: Some(content), .. } => content,
            Operation::Push { tree, .. } | Operation::SyncDir { tree, .. } => tree,
            _ => return,
        };
        if let Some(kept) = kept.as_mut() {
            kept.insert(content.digest.clone(), request.payload.clone());
        }
    }

    pub fn find(&self, content: &Content) -> Option<Payload> {
        self.0.lock().as_ref()?.get(&content.digest).cloned()
    }
}
