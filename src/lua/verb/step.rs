//! A branch as a script asks for it: its step, run against a session until it ends or a replay diverges.

use std::sync::Arc;
use std::time::Duration;

use mlua::{Function, Lua, Value};

use crate::error::{Error, Result};
use crate::lua::handle::guest::{Divergence, Guest};
use crate::lua::runtime::context::Context;
use crate::lua::runtime::raised::Call;
use crate::lua::value::error::kind_of;
use crate::lua::value::options::Options;
use crate::name::SnapshotName;
use crate::tree;
use crate::tree::{ASKED_FOR, BranchSpec, Candidate, Found, NodeId, Reason, Recalled, Session};

const OPTIONS: [&str; 7] = ["comment", "live", "inputs", "max_age", "timeout", "resume", "keep_failed"];

/// A branch as the script asks for it.
pub struct Branch {
    pub wanted: Arc<BranchSpec>,
    pub step: Function,
    /// Whether a failed step is kept; by default as the run says.
    pub keep_failed: Option<bool>,
    /// Whether a build may resume from an earlier one.
    pub resume: bool,
}

/// How a step ended if nothing stopped it.
pub enum Ended {
    Finished,
    /// The replay diverged from the journal.
    Diverged(Reason),
}

impl Branch {
    pub fn read(function: &'static str, name: String, step: Value, options: Value) -> Result<Self> {
        let options = Options::read(function, options, &OPTIONS)?;
        let wanted = BranchSpec {
            comment: options.string("comment")?.unwrap_or_default(),
            live: options.boolean("live")?,
            timeout: options.duration("timeout")?,
            inputs: options.inputs("inputs")?,
            max_age: options.duration("max_age")?,
            ..BranchSpec::new(SnapshotName::new(name)?)
        };
        let (keep_failed, resume) = (options.boolean("keep_failed")?, options.boolean("resume")?.unwrap_or(true));
        let step = step_of(&wanted.name, step)?;
        Ok(Self { wanted: Arc::new(wanted), step, keep_failed, resume })
    }

    /// Makes a branch from just a name and a step.
    pub fn plain(name: SnapshotName, step: Value) -> Result<Self> {
        let step = step_of(&name, step)?;
        Ok(Self { wanted: Arc::new(BranchSpec::new(name)), step, keep_failed: None, resume: true })
    }

    /// Looks for what this step has built on `parent` before.
    pub async fn reuse(&self, lua: &Lua, context: &Arc<Context>, parent: &NodeId) -> Result<Found> {
        let (place, wanted) = (parent.clone(), Arc::clone(&self.wanted));
        let recalled = context.blocking(move |engine| tree::recall(engine, &place, &wanted)).await?;
        if context.control.rebuilds(&parent.machine, &self.wanted.name) {
            return Ok(Found::Needed(match recalled {
                Recalled::Stale(reason) => reason,
                Recalled::Candidate(_) => Reason::Changed(ASKED_FOR.to_string()),
            }));
        }
        let reason = match recalled {
            Recalled::Stale(reason) => reason,
            Recalled::Candidate(candidate) => match self.try_out(lua, context, parent, *candidate).await? {
                Found::Needed(reason) => reason,
                cached => return Ok(cached),
            },
        };
        let (place, wanted) = (parent.clone(), Arc::clone(&self.wanted));
        for candidate in context.blocking(move |engine| tree::recall_superseded(engine, &place, &wanted)).await? {
            match self.try_out(lua, context, parent, candidate).await? {
                Found::Needed(_) => {}
                cached => return Ok(cached),
            }
        }
        Ok(Found::Needed(reason))
    }

    /// Replays the step against a candidate that it may have built.
    async fn try_out(&self, lua: &Lua, context: &Arc<Context>, parent: &NodeId, candidate: Candidate) -> Result<Found> {
        match run(lua, context, &self.step, candidate.session.clone()).await? {
            Ended::Diverged(why) => Ok(Found::Needed(why)),
            Ended::Finished => {
                let place = parent.clone();
                context.blocking(move |engine| tree::accept(engine, &place, &candidate)).await
            }
        }
    }
}

fn step_of(name: &SnapshotName, step: Value) -> Result<Function> {
    match step {
        Value::Function(step) => Ok(step),
        other => Err(Error::failed(format!("the step of `{name}` must be a function, not {}", kind_of(&other)))
            .hint("snapshot:branch(\"name\", function(guest) ... end)")),
    }
}

/// Runs a step against a session until it ends, fails, takes too long, or a replay diverges.
pub async fn run(lua: &Lua, context: &Arc<Context>, step: &Function, session: Arc<dyn Session>) -> Result<Ended> {
    /// An operation that is running at the limit ends by itself, with a better error.
    const GRACE: Duration = Duration::from_secs(2);
    let divergence = Arc::new(Divergence::default());
    let overdue = {
        let session = Arc::clone(&session);
        async move {
            let Some(limit) = session.limit() else { return std::future::pending().await };
            tokio::time::sleep(limit.left() + GRACE).await;
            limit.overdue()
        }
    };
    let guest = Guest::new(session, Arc::clone(&divergence));
    let call = Call::new(lua, step.clone(), guest)?;
    let _in_step = context.enter_step(call.thread());
    tokio::select! {
        biased;
        reason = divergence.raised() => Ok(Ended::Diverged(reason)),
        error = overdue => Err(error),
        ended = call.end::<()>() => ended.map(|()| Ended::Finished),
    }
}
