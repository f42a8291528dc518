//! What ends a wait early: the user's interrupt, or a time limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};

/// A flag that Ctrl-C or SIGTERM raises, shared by everything that can wait.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(pub Arc<AtomicBool>);

impl Interrupt {
    pub fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    pub fn check(&self) -> Result<()> {
        if self.is_raised() { Err(Error::interrupted()) } else { Ok(()) }
    }
}

/// An interrupt together with a time limit.
#[derive(Clone, Debug)]
pub struct Stop {
    interrupt: Interrupt,
    limit: Duration,
    started: Instant,
}

impl Stop {
    pub fn after(limit: Duration, interrupt: &Interrupt) -> Self {
        Self { interrupt: interrupt.clone(), limit, started: Instant::now() }
    }

    /// Returns the same stop with a limit of its own, from now on.
    pub fn within(&self, limit: Duration) -> Self {
        Self::after(limit, &self.interrupt)
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

    /// Fails when the user interrupted, or when the limit has passed: `what` then says what was waited for.
    pub fn check(&self, what: impl FnOnce() -> String) -> Result<()> {
        self.interrupt.check()?;
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
        while Instant::now() < until && !self.interrupt.is_raised() && !self.has_passed() {
            std::thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
        }
    }
}
