//! The system inside a builder, a fork or a machine, as a script holds it.

use parking_lot::Mutex;
use std::sync::Arc;

use mlua::{Lua, UserData};
use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::lua::runtime::context::Context;
use crate::tree::{NoOutcome, Outcome, Reason, Request, Session};

/// Signals that a replay cannot continue. The step is then abandoned, and no `pcall` in it can prevent that.
#[derive(Default)]
pub struct Divergence {
    reason: Mutex<Option<Reason>>,
    noticed: Notify,
}

impl Divergence {
    fn raise(&self, reason: Reason) {
        *self.reason.lock() = Some(reason);
        self.noticed.notify_one();
    }

    pub async fn raised(&self) -> Reason {
        loop {
            self.noticed.notified().await;
            if let Some(reason) = self.reason.lock().take() {
                return reason;
            }
        }
    }
}

#[derive(Clone)]
pub struct Guest {
    session: Arc<dyn Session>,
    divergence: Arc<Divergence>,
}

impl Guest {
    pub fn new(session: Arc<dyn Session>, divergence: Arc<Divergence>) -> Self {
        Self { session, divergence }
    }

    /// Runs an operation, or answers it from a journal.
    pub async fn perform(&self, lua: &Lua, request: Request) -> Result<Outcome> {
        Context::of(lua)?.contents.keep(&request);
        let performed = if self.session.answers_at_once(&request) {
            self.session.perform(&request)
        } else {
            let session = Arc::clone(&self.session);
            let performed = tokio::task::spawn_blocking(move || session.perform(&request)).await;
            performed.map_err(|cause| Error::bug("an operation broke").cause(cause))?
        };
        match performed {
            Ok(outcome) => Ok(outcome),
            Err(NoOutcome::Failed(error)) => Err(error),
            Err(NoOutcome::Diverged(reason)) => {
                self.divergence.raise(reason);
                std::future::pending().await
            }
        }
    }
}

/// A value with an operating system inside that a script can use.
pub trait InGuest: UserData + 'static {
    /// Whether the output of commands is shown as it comes.
    const STREAMS: bool = false;

    fn guest(&self) -> Result<Guest>;
}

impl InGuest for Guest {
    fn guest(&self) -> Result<Guest> {
        Ok(self.clone())
    }
}
