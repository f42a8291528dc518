//! What the engine tells about its work. `ui` is the one consumer.

use std::sync::Arc;
use std::time::Duration;

use crate::hypervisor::Stream;

/// Something that happened, in the order in which it happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Something worth a line, once: which connection, which accelerator, what debris was removed.
    Note(String),
    /// A line that the script printed.
    Printed(String),
    /// An image is being built or downloaded.
    ImageStarted {
        image: String,
        what: String,
    },
    /// Bytes of a download, and how many there will be when that is known.
    ImageProgress {
        image: String,
        done: u64,
        total: Option<u64>,
    },
    /// One line that an image's build printed.
    ImageOutput {
        image: String,
        line: String,
    },
    ImageFinished {
        image: String,
        took: Duration,
    },
    /// An image's build or download was given up.
    ImageFailed {
        image: String,
    },
    /// The node exists as the script describes it.
    NodeCached {
        machine: String,
        node: String,
    },
    /// The node is going to be built, because of `reason`.
    NodeStarted {
        machine: String,
        node: String,
        reason: String,
    },
    /// The node is built on from a check-point, after so many operations of an earlier try.
    GoingOn {
        node: String,
        operations: usize,
        of: &'static str,
    },
    /// The node's builder has booted.
    BuilderReady {
        node: String,
        took: Duration,
    },
    /// An operation begins; `number` counts from 1 within the node.
    OperationStarted {
        node: String,
        number: usize,
        operation: String,
    },
    /// Output of the running operation.
    Output {
        node: String,
        stream: Stream,
        bytes: Vec<u8>,
    },
    OperationFinished {
        node: String,
        number: usize,
        operation: String,
        took: Duration,
    },
    /// The builder is shutting down and its layer is about to become the node's.
    Freezing {
        node: String,
    },
    NodeBuilt {
        machine: String,
        node: String,
        took: Duration,
    },
    NodeFailed {
        machine: String,
        node: String,
    },
    /// What is left of the node that failed can be looked at.
    FailureKept {
        machine: String,
        node: String,
    },
}

/// Where events go.
#[derive(Clone)]
pub struct Events(Arc<dyn Fn(Event) + Send + Sync>);

impl Events {
    pub fn new(consumer: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(consumer))
    }

    /// Drops every event.
    pub fn none() -> Self {
        Self::new(|_| ())
    }

    pub fn emit(&self, event: Event) {
        (self.0)(event);
    }

    pub fn note(&self, note: impl Into<String>) {
        self.emit(Event::Note(note.into()));
    }
}
