//! What the engine reports about its work. `ui` is the one consumer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::hypervisor::Stream;
use crate::name::{MachineName, SnapshotName};

/// The subject of the work: a node of a machine, or the machine itself.
#[derive(Clone, Debug)]
pub struct Subject {
    pub machine: String,
    pub node: Option<String>,
}

impl Subject {
    pub fn node(machine: &MachineName, node: &SnapshotName) -> Self {
        Self { machine: machine.to_string(), node: Some(node.to_string()) }
    }

    /// A fork of a node, by the number that its domain's name ends in.
    pub fn fork(machine: &MachineName, node: &SnapshotName, domain: &str) -> Self {
        let number = domain.rsplit('-').next().unwrap_or_default();
        Self { machine: machine.to_string(), node: Some(format!("{node} (fork {number})")) }
    }

    pub fn machine(machine: &MachineName) -> Self {
        Self { machine: machine.to_string(), node: None }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.machine)?;
        self.node.as_ref().map_or(Ok(()), |node| write!(f, "/{node}"))
    }
}

/// The earlier try of a step that a build resumes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlierTry {
    Failed,
    Built,
}

/// Something that happened, in the order in which it happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// Something worth a line, once: the connection, the accelerator, the debris that was removed.
    Note(String),
    /// A line that the script printed.
    Printed(String),
    /// A script could not write to standard output; this is the system's error number.
    OutputLost(i32),
    /// An image is being built or downloaded.
    ImageStarted {
        image: String,
        what: String,
    },
    /// The bytes downloaded so far, and the total if it is known.
    ImageProgress {
        image: String,
        done: u64,
        total: Option<u64>,
    },
    /// One line of output from an image's build.
    ImageOutput {
        image: String,
        line: String,
    },
    ImageFinished {
        image: String,
        took: Duration,
    },
    /// An image's build or download failed.
    ImageFailed {
        image: String,
    },
    /// The script declares a machine.
    MachineDeclared {
        machine: String,
    },
    /// The node exists as the script describes it.
    NodeCached {
        subject: Subject,
    },
    /// An operation of the node differs from the recorded one in what looks like a time stamp or a random value.
    ByChance {
        subject: Subject,
        number: usize,
        operation: String,
    },
    /// The node is going to be built, because of `reason`.
    NodeStarted {
        subject: Subject,
        reason: String,
    },
    /// The build resumes from a checkpoint, after this many operations of an earlier try.
    Resuming {
        subject: Subject,
        operations: usize,
        of: EarlierTry,
    },
    /// The guest of the node's builder answers: it resumed from its parent's state, or booted.
    BuilderReady {
        subject: Subject,
        is_resumed: bool,
        took: Duration,
    },
    /// An operation begins; `number` counts from 1 within the step.
    OperationStarted {
        subject: Subject,
        number: usize,
        operation: String,
    },
    /// Output of the running operation.
    Output {
        subject: Subject,
        stream: Stream,
        bytes: Vec<u8>,
    },
    /// Output of an interactive command, to be shown as it comes.
    Heard {
        stream: Stream,
        bytes: Vec<u8>,
    },
    OperationFinished {
        subject: Subject,
        number: usize,
        operation: String,
        took: Duration,
    },
    /// An operation failed; the step may continue anyway.
    OperationFailed {
        subject: Subject,
        number: usize,
        operation: String,
        took: Duration,
    },
    /// The builder is shutting down and its layer is about to become the node's.
    Freezing {
        subject: Subject,
    },
    NodeBuilt {
        subject: Subject,
        took: Duration,
    },
    NodeFailed {
        subject: Subject,
    },
    /// The failed node was kept and can be examined.
    FailureKept {
        subject: Subject,
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

    /// Drops every event except the `wanted` ones.
    pub fn only(&self, wanted: impl Fn(&Event) -> bool + Send + Sync + 'static) -> Self {
        let all = self.clone();
        Self::new(move |event| {
            if wanted(&event) {
                all.emit(event);
            }
        })
    }

    /// Passes output on as it comes, without marking where one operation ends and the next begins.
    pub fn by_hand(&self) -> Self {
        let all = self.clone();
        Self::new(move |event| match event {
            Event::Output { stream, bytes, .. } => all.emit(Event::Heard { stream, bytes }),
            Event::OperationStarted { .. } | Event::OperationFinished { .. } | Event::OperationFailed { .. } => {}
            other => all.emit(other),
        })
    }

    pub fn emit(&self, event: Event) {
        (self.0)(event);
    }

    pub fn note(&self, note: impl Into<String>) {
        self.emit(Event::Note(note.into()));
    }
}
