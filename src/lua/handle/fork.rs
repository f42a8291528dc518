//! A throw-away running clone of a snapshot as a script holds it.

use parking_lot::Mutex;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::lua::handle::guest::{Guest, InGuest};
use crate::lua::handle::snapshot::Snapshot;
use crate::tree;
use crate::tree::{Builder, ForkOptions, HollowSession, Session};

/// A fork of a snapshot, which ends when it is closed or collected as garbage.
pub struct Fork {
    pub of: Snapshot,
    /// `None` in a plan, and after it is closed.
    running: Mutex<Option<Arc<Builder>>>,
    pub session: Arc<dyn Session>,
    guest: Guest,
}

impl Fork {
    /// Starts a fork, or returns a placeholder if forks are skipped.
    pub async fn start(of: &Snapshot, options: ForkOptions) -> Result<Self> {
        if of.leaves_out("fork") {
            let session = HollowSession::new(of.domain.context.engine.interrupt.clone());
            return Ok(Self::new(of, None, Arc::new(session)));
        }
        let (fork, session) = of
            .blocking(move |engine, path| {
                let fork = tree::fork(engine, path, options)?;
                let session = tree::session_in(engine, &fork, path, options)?;
                Ok((fork, session))
            })
            .await?;
        Ok(Self::new(of, Some(fork), Arc::new(session)))
    }

    fn new(of: &Snapshot, running: Option<Builder>, session: Arc<dyn Session>) -> Self {
        let guest = Guest::new(Arc::clone(&session), Arc::default());
        Self { of: of.clone(), running: Mutex::new(running.map(Arc::new)), session, guest }
    }

    /// Says whether nothing runs because this is a plan.
    pub fn is_planned(&self) -> bool {
        self.of.domain.context.control.is_plan()
    }

    /// Returns the clone; fails if it is closed.
    pub fn running(&self) -> Result<Arc<Builder>> {
        let running = self.running.lock();
        running.clone().ok_or_else(|| Error::failed(format!("this fork of {} is closed", self.of)))
    }

    /// Ends the fork in the background.
    pub fn close(&self) {
        let running = self.running.lock().take();
        if let Some(running) = running {
            self.of.domain.context.endings.end(running);
        }
    }
}

impl Drop for Fork {
    fn drop(&mut self) {
        self.close();
    }
}

impl InGuest for Fork {
    fn guest(&self) -> Result<Guest> {
        if !self.is_planned() {
            self.running()?;
        }
        Ok(self.guest.clone())
    }
}
