//! A step in progress, as the script that it belongs to sees it.

use std::time::Duration;

use crate::error::{Error, Kind};
use crate::stop::{Interrupt, Stop};
use crate::tree::record::journal::Journal;
use crate::tree::record::operation::{Outcome, Request};
use crate::tree::step::recall::NoOutcome;

/// The operations of one step, one at a time.
pub trait Session: Send + Sync {
    /// Answers one operation. A second one waits until the first is done.
    fn perform(&self, request: &Request) -> Result<Outcome, NoOutcome>;

    /// Returns whether an operation is answered without a wait, with no guest to ask and no file to compare or write.
    fn answers_at_once(&self, request: &Request) -> bool;

    /// Returns the journal: the recorded one in a replay, otherwise the operations so far.
    fn journal(&self) -> Journal;

    /// Returns the time limit of the whole step, if there is one.
    fn limit(&self) -> Option<&StepLimit> {
        None
    }
}

/// The time limit of a whole step, from its beginning.
pub struct StepLimit {
    node: String,
    stop: Stop,
}

impl StepLimit {
    pub fn after(limit: Duration, node: &str, interrupt: &Interrupt) -> Self {
        Self { node: node.to_string(), stop: Stop::after(limit, interrupt) }
    }

    /// Returns the time left.
    pub fn left(&self) -> Duration {
        self.stop.left()
    }

    /// Returns the error for a step that took too long.
    pub fn overdue(&self) -> Error {
        let limit = humantime::format_duration(self.stop.limit());
        Error::new(Kind::Timeout, format!("the step of `{}` timed out after {limit}", self.node))
            .hint("raise the option `timeout` of the branch")
    }
}

/// Describes the recorded operation that the finished step no longer asked for.
pub fn left_over(node: &str, journal: &Journal, next: usize) -> Option<String> {
    let entry = journal.entries.get(next)?;
    Some(format!("operation {} of {node} is gone: {}", next + 1, entry.operation))
}

#[cfg(test)]
mod tests;
