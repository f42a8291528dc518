//! A step whose operations are answered from a journal.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::stop::Interrupt;
use crate::tree::record::host_files::HostFiles;
use crate::tree::record::journal::Journal;
use crate::tree::record::operation::{Operation, Outcome, Payload, Request};
use crate::tree::record::replay::Replay;
use crate::tree::step::recall::{NoOutcome, recall};
use crate::tree::step::session::{Session, left_over};

/// Answers operations from a journal; no guest exists.
pub struct ReplaySession {
    node: String,
    replay: Arc<Replay>,
    /// Held while an operation is answered.
    turn: Mutex<()>,
    interrupt: Interrupt,
    inputs: Arc<HostFiles>,
    /// Whether what was pulled is written to the host again.
    writes: bool,
}

impl ReplaySession {
    pub fn new(node: &str, journal: Journal, interrupt: Interrupt) -> Self {
        let replay = Arc::new(Replay::of(journal));
        let (turn, inputs) = (Mutex::default(), Arc::default());
        Self { node: node.to_string(), replay, turn, interrupt, inputs, writes: true }
    }

    /// Lets differences name the host files with a recorded content.
    pub fn naming(self, inputs: &Arc<HostFiles>) -> Self {
        Self { inputs: Arc::clone(inputs), ..self }
    }

    /// Keeps it from writing files on the host.
    pub fn leaving_the_host_alone(self) -> Self {
        Self { writes: false, ..self }
    }

    /// Describes the recorded operation that the finished step no longer asked for.
    pub fn left_over(&self) -> Option<String> {
        left_over(&self.node, self.replay.journal(), self.replay.matched())
    }

    /// Returns the replay, which shows how far the step matches.
    pub fn replay(&self) -> &Arc<Replay> {
        &self.replay
    }

    /// Returns how many operations it has answered.
    pub fn matched(&self) -> usize {
        self.replay.matched()
    }

    /// Returns the operation that it could not answer.
    pub fn wanted(&self) -> Option<Operation> {
        self.replay.wanted()
    }
}

impl Session for ReplaySession {
    fn perform(&self, request: &Request) -> Result<Outcome, NoOutcome> {
        self.interrupt.check()?;
        let _turn = self.turn.lock();
        let (journal, next) = (self.replay.journal(), self.replay.matched());
        let outcome = recall(&self.node, &self.inputs, journal, next, request, self.writes);
        match &outcome {
            Ok(_) => self.replay.answered(),
            Err(_) => self.replay.missed(request.operation.clone()),
        }
        outcome
    }

    fn answers_at_once(&self, request: &Request) -> bool {
        !matches!(request.payload, Payload::Into(_))
    }

    fn journal(&self) -> Journal {
        self.replay.journal().clone()
    }
}
