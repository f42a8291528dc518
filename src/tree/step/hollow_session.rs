//! A step without a guest, for a plan that reaches a machine that it must not touch.

use crate::stop::Interrupt;
use crate::tree::record::journal::Journal;
use crate::tree::record::operation::{Outcome, Request};
use crate::tree::step::recall::NoOutcome;
use crate::tree::step::session::Session;

/// Answers every operation with an empty result.
pub struct HollowSession {
    interrupt: Interrupt,
}

impl HollowSession {
    pub fn new(interrupt: Interrupt) -> Self {
        Self { interrupt }
    }
}

impl Session for HollowSession {
    fn perform(&self, request: &Request) -> Result<Outcome, NoOutcome> {
        self.interrupt.check()?;
        Ok(Outcome::empty(&request.operation))
    }

    fn answers_at_once(&self, _: &Request) -> bool {
        true
    }

    fn journal(&self) -> Journal {
        Journal::default()
    }
}
