//! Ends a wait early: on the user's interrupt, or at a time limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};

/// A flag that Ctrl-C or SIGTERM raises, shared by everything that can wait.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    pub flag: Arc<AtomicBool>,
    /// Whether to end the whole process, and not only its present task.
    pub end: Arc<AtomicBool>,
    /// How often it was lowered again.
    lowered: Arc<AtomicUsize>,
}

impl Interrupt {
    pub fn raise(&self) {
        self.flag.store(true, Ordering::SeqCst);
    }

    /// Raises it for the rest of the process.
    pub fn raise_for_good(&self) {
        self.end.store(true, Ordering::SeqCst);
        self.raise();
    }

    pub fn is_raised(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }

    pub fn is_end(&self) -> bool {
        self.end.load(Ordering::SeqCst)
    }

    /// Lets new waits proceed; those that were under way when it was raised still end.
    pub fn lower(&self) {
        if self.is_raised() && !self.is_end() {
            self.lowered.fetch_add(1, Ordering::SeqCst);
            self.flag.store(false, Ordering::SeqCst);
        }
    }

    pub fn check(&self) -> Result<()> {
        if self.is_raised() { Err(Error::interrupted()) } else { Ok(()) }
    }
}

/// An interrupt together with a time limit.
#[derive(Clone, Debug)]
pub struct Stop {
    interrupt: Interrupt,
    /// Another one, of the task at hand.
    other: Option<Interrupt>,
    /// How often the interrupt had been lowered when this began.
    lowered: usize,
    limit: Duration,
    started: Instant,
}

impl Stop {
    pub fn after(limit: Duration, interrupt: &Interrupt) -> Self {
        let lowered = interrupt.lowered.load(Ordering::SeqCst);
        Self { interrupt: interrupt.clone(), other: None, lowered, limit, started: Instant::now() }
    }

    /// Returns the same stop with a limit of its own, from now on.
    pub fn within(&self, limit: Duration) -> Self {
        Self { lowered: self.lowered, other: self.other.clone(), ..Self::after(limit, &self.interrupt) }
    }

    /// Returns the same stop, which another interrupt raises too.
    pub fn or(&self, other: &Interrupt) -> Self {
        Self { other: Some(other.clone()), ..self.clone() }
    }

    fn is_interrupted(&self) -> bool {
        let is_raised = self.interrupt.is_raised() || self.other.as_ref().is_some_and(Interrupt::is_raised);
        is_raised || self.interrupt.lowered.load(Ordering::SeqCst) != self.lowered
    }

    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Returns how long it is until the limit.
    pub fn left(&self) -> Duration {
        self.limit.saturating_sub(self.started.elapsed())
    }

    pub fn has_passed(&self) -> bool {
        self.started.elapsed() >= self.limit
    }

    /// Fails if the user interrupted, or if the limit has passed: `what` then describes the wait.
    pub fn check(&self, what: impl FnOnce() -> String) -> Result<()> {
        if self.is_interrupted() {
            return Err(Error::interrupted());
        }
        if self.has_passed() {
            let limit = humantime::format_duration(self.limit);
            return Err(Error::new(Kind::Timeout, format!("{} timed out after {limit}", what())));
        }
        Ok(())
    }

    /// Sleeps for `pause`, or less when interrupted or at the limit.
    pub fn sleep(&self, pause: Duration) {
        const TICK: Duration = Duration::from_millis(20);
        let until = Instant::now() + pause;
        while Instant::now() < until && !self.is_interrupted() && !self.has_passed() {
            std::thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_under_way_at_an_interrupt_ends_also_when_that_is_lowered() {
        let interrupt = Interrupt::default();
        let stop = |interrupt: &Interrupt| Stop::after(Duration::from_secs(60), interrupt);
        let before = stop(&interrupt);
        interrupt.lower();
        assert!(before.check(String::new).is_ok());
        interrupt.raise();
        interrupt.lower();
        assert_eq!(before.check(String::new).unwrap_err().kind, Kind::Interrupted);
        assert_eq!(before.within(Duration::from_secs(1)).check(String::new).unwrap_err().kind, Kind::Interrupted);
        assert!(stop(&interrupt).check(String::new).is_ok());
    }
}
