//! A domain as a script holds it, made by snaptree or not.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::lua::runtime::context::Context;
use crate::name::MachineName;
use crate::tree::{Engine, Machine as Seen};

/// A machine of a connection, by name.
#[derive(Clone)]
pub struct Domain {
    pub context: Arc<Context>,
    pub name: MachineName,
    /// Whether the script declares it; if so, it need not exist yet.
    is_declared: bool,
}

impl Domain {
    pub fn new(context: Arc<Context>, name: MachineName) -> Self {
        Self { context, name, is_declared: false }
    }

    pub fn declared(context: Arc<Context>, name: MachineName) -> Self {
        Self { context, name, is_declared: true }
    }

    /// Runs a blocking call on another thread.
    pub async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Engine, &MachineName) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let domain = self.clone();
        self.context
            .blocking(move |engine| {
                domain.check()?;
                call(engine, &domain.name)
            })
            .await
    }

    /// Looks at the machine on another thread; `None` if it is absent and may be.
    pub async fn seen(&self) -> Result<Option<Arc<Seen>>> {
        if self.is_absent()? {
            return Ok(None);
        }
        self.blocking(|engine, name| engine.existing_now(name)).await.map(Some)
    }

    /// Says whether it is absent and may be: a plan makes no machine, and `--only` skips some.
    pub fn is_absent(&self) -> Result<bool> {
        let may_be = self.is_declared && self.context.control.is_partial();
        Ok(may_be && self.context.engine.machine(&self.name)?.is_none())
    }

    /// Says whether an act on it is skipped, and reports that.
    pub fn leaves_out(&self, act: &str) -> Result<bool> {
        let control = &self.context.control;
        if let Some(mut plan) = control.plan() {
            plan.leave_out(act, &self.name);
            let state = match act {
                "start" | "resume" => Some("running"),
                "shutdown" | "destroy" => Some("shutoff"),
                "suspend" => Some("paused"),
                _ => None,
            };
            if let Some(state) = state {
                control.would_be(self.context.engine.uri(), &self.name, state);
            }
            return Ok(true);
        }
        let is_absent = self.is_absent()?;
        if is_absent {
            self.context.engine.events.note(format!("no {act} of {}, which --only leaves alone", self.name));
        }
        Ok(is_absent)
    }

    /// Looks at the machine as it is now.
    pub fn look(&self) -> Result<Arc<Seen>> {
        self.check()?;
        self.context.engine.existing_now(&self.name)
    }

    /// Fails, in the script's own terms, if a declared machine does not exist yet.
    fn check(&self) -> Result<()> {
        if self.is_declared && self.context.engine.machine(&self.name)?.is_none() {
            return Err(Error::failed(format!("machine `{}` does not exist yet", self.name))
                .hint("machine:root(\"name\") makes it"));
        }
        Ok(())
    }

    /// Says whether both are the same domain.
    pub fn is(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.context.engine, &other.context.engine)
    }
}
