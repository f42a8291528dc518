//! Growing a tree: `branch` and `branches`, each a step replayed or carried out.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use mlua::{Function, Lua, Table, UserDataMethods, Value};

use crate::error::{Error, Kind, Result};
use crate::lua::handle::guest::{Divergence, Guest};
use crate::lua::handle::snapshot::Snapshot;
use crate::lua::prompt::post_mortem;
use crate::lua::runtime::ask::Door;
use crate::lua::runtime::context::Context;
use crate::lua::runtime::raised::Call;
use crate::lua::value::error::kind_of;
use crate::lua::value::options::Options;
use crate::lua::verb::plan;
use crate::name::{SnapshotName, SnapshotPath};
use crate::tree::{
    ASKED_FOR, Candidate, Engine, Event, Found, NodeId, Reason, Recalled, Resume, Session, Subject, Wanted,
};

const OPTIONS: [&str; 7] = ["comment", "live", "inputs", "max_age", "timeout", "resume", "keep_failed"];

/// A branch as the script asks for it.
pub struct Branch {
    pub wanted: Arc<Wanted>,
    step: Function,
    /// Whether what is left of a failed step is kept; the run says so where this does not.
    keep_failed: Option<bool>,
    /// Whether a build may go on from what an earlier one has done.
    resume: bool,
}

/// How a step ended that nothing stopped.
enum Ended {
    Finished,
    /// The replay went another way than the journal.
    Diverged(Reason),
}

pub fn add_methods<M: UserDataMethods<Snapshot>>(methods: &mut M) {
    methods.add_async_method("branch", |lua, this, (name, step, options): (String, Value, Value)| async move {
        let branch = Branch::read("snapshot:branch", name, step, options)?;
        Ok(branch.grow_on(&lua, &this).await?)
    });
    methods.add_async_method("branches", |lua, this, steps: Table| async move {
        let mut branches = Vec::new();
        for pair in steps.pairs::<Value, Value>() {
            let (Value::String(name), step) = pair? else {
                return Err(Error::failed("snapshot:branches: every branch needs a name")
                    .hint("snapshot:branches { name = function(guest) ... end }")
                    .into());
            };
            let name = SnapshotName::new(&*name.to_str()?)?;
            let step = step_of(&name, step)?;
            branches.push(Branch { wanted: Arc::new(Wanted::new(name)), step, keep_failed: None, resume: true });
        }
        // Lua's tables have no order; the reports of a run should.
        branches.sort_by(|a, b| a.wanted.name.cmp(&b.wanted.name));
        let grown = lua.create_table()?;
        for snapshot in grow_all(&lua, &this, branches).await? {
            grown.set(snapshot.name.to_string(), snapshot)?;
        }
        Ok(grown)
    });
}

fn step_of(name: &SnapshotName, step: Value) -> Result<Function> {
    match step {
        Value::Function(step) => Ok(step),
        other => Err(Error::failed(format!("the step of `{name}` must be a function, not {}", kind_of(&other)))
            .hint("snapshot:branch(\"name\", function(guest) ... end)")),
    }
}

/// Makes the branches children of `parent`, or notes them in a plan; what is not needed is left alone.
async fn grow_all(lua: &Lua, parent: &Snapshot, branches: Vec<Branch>) -> Result<Vec<Snapshot>> {
    let (domain, context) = (&parent.domain, &parent.domain.context);
    for branch in &branches {
        context.declare(lua, &domain.name, Some(&branch.wanted.name))?;
    }
    if context.control.is_plan() {
        return plan::branches(lua, parent, &branches).await;
    }
    let is_needed = |branch: &Branch| context.control.needs(&context.place(&domain.name, &branch.wanted.name));
    let (needed, others): (Vec<_>, Vec<_>) = branches.into_iter().partition(is_needed);
    let left_alone = |branch: Branch| Snapshot::left_alone(domain, branch.wanted.name.clone());
    let mut grown: Vec<_> = others.into_iter().map(left_alone).collect();
    if !needed.is_empty() {
        let nodes = grow(lua, context, &parent.node().await?, &needed).await?;
        grown.extend(nodes.into_iter().map(|node| Snapshot::grown(domain, node)));
    }
    Ok(grown)
}

/// Returns the branches in their order: those that are there, and the others built at the same time.
async fn grow(lua: &Lua, context: &Arc<Context>, parent: &NodeId, branches: &[Branch]) -> Result<Vec<NodeId>> {
    loop {
        let mut found = Vec::with_capacity(branches.len());
        for branch in branches {
            let reused = branch.reuse(lua, context, parent).await;
            if let Ok(found) = &reused {
                context.warn_of_chance(&parent.machine, &branch.wanted.name, found);
            }
            found.push(reused.and_then(|found| match &found {
                Found::Needed(reason) => context.control.may_build(&branch.wanted.name, reason).map(|()| found),
                _ => Ok(found),
            }));
        }
        let machine = parent.machine.clone();
        let is_missing = found.iter().any(|found| matches!(found, Ok(Found::Needed(_))));
        if is_missing && context.blocking(move |engine| engine.claim(&machine)).await? {
            continue;
        }
        let machine = parent.machine.clone();
        let memory = context.blocking(move |engine| Ok(engine.existing(&machine)?.details.memory)).await?;
        let growing = branches.iter().zip(found).map(|(branch, found)| async move {
            match found? {
                Found::Cached(node) | Found::KeptAside(node) => Ok(node),
                Found::Needed(reason) => branch.build(lua, context, parent, memory, reason).await,
            }
        });
        let (mut grown, mut failures) = (Vec::with_capacity(branches.len()), Vec::new());
        for (branch, ended) in branches.iter().zip(join_all(growing).await) {
            // Only now, so that nobody types while another branch is built.
            let ended = match (ended, &context.on_failure.door) {
                (Err(error), Some(door)) => branch.look_into(lua, context, parent, memory, door, error).await,
                (ended, _) => ended,
            };
            match ended {
                Ok(node) => grown.push(node),
                Err(error) => failures.push(error),
            }
        }
        return Error::together(failures).map_or(Ok(grown), Err);
    }
}

impl Branch {
    pub fn read(function: &'static str, name: String, step: Value, options: Value) -> Result<Self> {
        let options = Options::read(function, options, &OPTIONS)?;
        let wanted = Wanted {
            comment: options.string("comment")?.unwrap_or_default(),
            live: options.boolean("live")?,
            timeout: options.duration("timeout")?,
            inputs: options.inputs("inputs")?,
            max_age: options.duration("max_age")?,
            ..Wanted::new(SnapshotName::new(name)?)
        };
        let (keep_failed, resume) = (options.boolean("keep_failed")?, options.boolean("resume")?.unwrap_or(true));
        let step = step_of(&wanted.name, step)?;
        Ok(Self { wanted: Arc::new(wanted), step, keep_failed, resume })
    }

    /// Makes the branch a child of `parent`.
    pub async fn grow_on(self, lua: &Lua, parent: &Snapshot) -> Result<Option<Snapshot>> {
        Ok(grow_all(lua, parent, vec![self]).await?.pop())
    }

    /// Looks for what this step has made of `parent` before.
    pub async fn reuse(&self, lua: &Lua, context: &Arc<Context>, parent: &NodeId) -> Result<Found> {
        let (place, wanted) = (parent.clone(), Arc::clone(&self.wanted));
        let recalled = context.blocking(move |engine| engine.recall(&place, &wanted)).await?;
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
        for candidate in context.blocking(move |engine| engine.recall_superseded(&place, &wanted)).await? {
            match self.try_out(lua, context, parent, candidate).await? {
                Found::Needed(_) => {}
                cached => return Ok(cached),
            }
        }
        Ok(Found::Needed(reason))
    }

    /// Replays the step against what it may have made.
    async fn try_out(&self, lua: &Lua, context: &Arc<Context>, parent: &NodeId, candidate: Candidate) -> Result<Found> {
        match run(lua, context, &self.step, Arc::clone(&candidate.session)).await? {
            Ended::Diverged(why) => Ok(Found::Needed(why)),
            Ended::Finished => {
                let place = parent.clone();
                context.blocking(move |engine| engine.accept(&place, &candidate)).await
            }
        }
    }

    /// Runs the step in a builder, whose guest has so much `memory`, and grafts what it made.
    async fn build(
        &self,
        lua: &Lua,
        context: &Arc<Context>,
        parent: &NodeId,
        memory: u64,
        reason: Reason,
    ) -> Result<NodeId> {
        let events = &context.engine.events;
        let name = &self.wanted.name;
        let subject = Subject::node(&parent.machine, name);
        let waiting = || events.note(format!("`{subject}` waits until there is memory for its builder"));
        let _share = context.budget.share(memory, waiting).await?;
        events.emit(Event::NodeStarted { subject: subject.clone(), reason: reason.to_string() });
        let built = async {
            // Who asks for a build wants none of what was done before.
            let goes_on = self.resume && !context.control.rebuilds(&parent.machine, &self.wanted.name);
            let resume = if goes_on { self.find_foothold(lua, context, parent).await? } else { None };
            if let Some(node) = self.build_and_graft(lua, context, parent, resume).await? {
                return Ok(node);
            }
            // The step went another way than when it was compared: it is carried out from its beginning.
            let built = self.build_and_graft(lua, context, parent, None).await?;
            built.ok_or_else(|| Error::bug(format!("the step of `{name}` left a journal that it does not have")).into())
        };
        let built: std::result::Result<NodeId, Failure> = built.await;
        built.map_err(|failure| {
            events.emit(Event::NodeFailed { subject: subject.clone() });
            if failure.is_kept {
                events.emit(Event::FailureKept { subject });
            }
            failure.error
        })
    }

    /// Opens a prompt on what is left of a step that failed, for as long as it fails and somebody wants to run it again.
    async fn look_into(
        &self,
        lua: &Lua,
        context: &Arc<Context>,
        parent: &NodeId,
        memory: u64,
        door: &Door,
        mut error: Error,
    ) -> Result<NodeId> {
        let path = SnapshotPath { machine: parent.machine.clone(), snapshot: self.wanted.name.clone() };
        while error.kind != Kind::Interrupted && context.engine.has_failed(&path)? {
            let asks = door(&error);
            match post_mortem(lua, context, parent, &path, asks).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(why) if why.kind == Kind::Interrupted => return Err(why),
                // The failure of the step is the news; why it could not be looked into comes after it.
                Err(why) => {
                    error.others.push(why);
                    break;
                }
            }
            let reason = Reason::Changed("it is tried again".to_string());
            match self.build(lua, context, parent, memory, reason).await {
                Ok(node) => return Ok(node),
                Err(again) => error = again,
            }
        }
        Err(error)
    }

    /// Looks for the last state in an earlier build up to which the step is the same.
    async fn find_foothold(&self, lua: &Lua, context: &Arc<Context>, parent: &NodeId) -> Result<Option<Resume>> {
        let (place, wanted) = (parent.clone(), Arc::clone(&self.wanted));
        let mut best: Option<Resume> = None;
        for foothold in context.blocking(move |engine| engine.footholds(&place, &wanted)).await? {
            // What fails by recorded answers alone would fail again and again.
            if foothold.is_unknown() && run(lua, context, &self.step, Arc::clone(&foothold.session)).await.is_err() {
                continue;
            }
            let found = foothold.resume();
            best = best
                .into_iter()
                .chain(found)
                .reduce(|best, found| if found.operations() > best.operations() { found } else { best });
        }
        Ok(best)
    }

    /// Builds the branch, on from `resume`; gives nothing when the step turns out to have done something else until there.
    async fn build_and_graft(
        &self,
        lua: &Lua,
        context: &Arc<Context>,
        parent: &NodeId,
        resume: Option<Resume>,
    ) -> std::result::Result<Option<NodeId>, Failure> {
        let (place, wanted) = (parent.clone(), Arc::clone(&self.wanted));
        let build = context.blocking(move |engine| engine.start_build(&place, &wanted, resume)).await?;
        let ended = run(lua, context, &self.step, Arc::clone(&build.session)).await;
        let place = parent.clone();
        let keeps = self.keep_failed.unwrap_or(context.on_failure.keep);
        // Off the script's thread, for the builder goes there.
        let settle = move |engine: &Engine| match ended {
            Ok(Ended::Finished) if build.session.left_over().is_none() => {
                engine.graft(&place, build).map(|node| Ok(Some(node)))
            }
            Ok(_) => Ok(Ok(None)),
            Err(error) => {
                let is_kept = engine.give_up(&place, build, &error, keeps);
                Ok(Err(Failure { error, is_kept }))
            }
        };
        context.blocking(settle).await?
    }
}

/// Why a branch was not built.
struct Failure {
    error: Error,
    /// Whether what is left of it can be looked at.
    is_kept: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, is_kept: false }
    }
}

/// Runs a step against a session until it ends, fails, takes too long, or a replay diverges.
async fn run(lua: &Lua, context: &Arc<Context>, step: &Function, session: Arc<Session>) -> Result<Ended> {
    /// An operation that is under way at the limit ends by itself, and says more.
    const GRACE: Duration = Duration::from_secs(2);
    let divergence = Arc::new(Divergence::default());
    let overdue = {
        let session = Arc::clone(&session);
        async move {
            match session.left() {
                Some(left) => tokio::time::sleep(left + GRACE).await,
                None => std::future::pending().await,
            }
            session.overdue()
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
