//! Building branches: the step runs in a builder, from its beginning or resumed from an earlier build.

use std::sync::Arc;

use mlua::Lua;

use crate::error::{Error, Kind, Result};
use crate::lua::runtime::context::{AfterFailure, Context, FailedStep};
use crate::lua::verb::step::{Branch, Ended, run};
use crate::name::SnapshotPath;
use crate::tree;
use crate::tree::{Engine, Event, NodeId, Reason, Resume, Subject};

/// Runs the step in a builder whose guest has `memory`, and grafts the result.
pub async fn build(
    branch: &Branch,
    lua: &Lua,
    context: &Arc<Context>,
    parent: &NodeId,
    memory: u64,
    reason: Reason,
) -> Result<NodeId> {
    let events = &context.engine.events;
    let name = &branch.wanted.name;
    let subject = Subject::node(&parent.machine, name);
    let waiting = || events.note(format!("`{subject}` waits until there is memory for its builder"));
    let _share = context.budget.share(memory, waiting).await?;
    events.emit(Event::NodeStarted { subject: subject.clone(), reason: reason.to_string() });
    let built = async {
        // With `--rebuild`, nothing of an earlier build is wanted.
        let is_resumed = branch.resume && !context.control.rebuilds(&parent.machine, &branch.wanted.name);
        let resume = if is_resumed { find_resume_point(branch, lua, context, parent).await? } else { None };
        if let Some(node) = build_and_graft(branch, lua, context, parent, resume).await? {
            return Ok(node);
        }
        // The step diverged from what it did when it was compared, so it runs from its beginning.
        let built = build_and_graft(branch, lua, context, parent, None).await?;
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

/// Lets the user inspect a failed step, again after each retry that fails.
pub async fn look_into(
    branch: &Branch,
    lua: &Lua,
    context: &Arc<Context>,
    parent: &NodeId,
    memory: u64,
    after_failure: &AfterFailure,
    mut error: Error,
) -> Result<NodeId> {
    let path = SnapshotPath { machine: parent.machine.clone(), snapshot: branch.wanted.name.clone() };
    while error.kind != Kind::Interrupted && tree::has_failed(&context.engine, &path)? {
        match after_failure(FailedStep { lua, context, parent, path: &path, error: &error }).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(why) if why.kind == Kind::Interrupted => return Err(why),
            // The step's own failure comes first; why it could not be inspected comes after it.
            Err(why) => {
                error.others.push(why);
                break;
            }
        }
        let reason = Reason::Changed("it is tried again".to_string());
        match build(branch, lua, context, parent, memory, reason).await {
            Ok(node) => return Ok(node),
            Err(again) => error = again,
        }
    }
    Err(error)
}

/// Looks for the last state of an earlier build up to which the step is the same.
async fn find_resume_point(
    branch: &Branch,
    lua: &Lua,
    context: &Arc<Context>,
    parent: &NodeId,
) -> Result<Option<Resume>> {
    let (place, wanted) = (parent.clone(), Arc::clone(&branch.wanted));
    let mut best: Option<Resume> = None;
    for resume_point in context.blocking(move |engine| tree::resume_points(engine, &place, &wanted)).await? {
        // A step that fails on recorded answers alone would fail again every time.
        if resume_point.is_unknown() && run(lua, context, &branch.step, resume_point.session.clone()).await.is_err() {
            continue;
        }
        let found = resume_point.resume();
        best = best
            .into_iter()
            .chain(found)
            .reduce(|best, found| if found.operations() > best.operations() { found } else { best });
    }
    Ok(best)
}

/// Builds the branch from `resume`; returns `None` if the step turns out to diverge before that point.
async fn build_and_graft(
    branch: &Branch,
    lua: &Lua,
    context: &Arc<Context>,
    parent: &NodeId,
    resume: Option<Resume>,
) -> std::result::Result<Option<NodeId>, Failure> {
    let (place, wanted) = (parent.clone(), Arc::clone(&branch.wanted));
    let build = context.blocking(move |engine| tree::start_build(engine, &place, &wanted, resume)).await?;
    let ended = run(lua, context, &branch.step, build.session.clone()).await;
    let place = parent.clone();
    let keeps = branch.keep_failed.unwrap_or(context.on_failure.keep);
    // On another thread, because the builder is dropped there.
    let settle = move |engine: &Engine| match ended {
        Ok(Ended::Finished) if build.session.left_over().is_none() => {
            tree::graft(engine, &place, build).map(|node| Ok(Some(node)))
        }
        Ok(_) => Ok(Ok(None)),
        Err(error) => {
            let is_kept = tree::give_up(engine, &place, build, &error, keeps);
            Ok(Err(Failure { error, is_kept }))
        }
    };
    context.blocking(settle).await?
}

/// Why a branch was not built.
struct Failure {
    error: Error,
    /// Whether the failed step was kept and can be inspected.
    is_kept: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, is_kept: false }
    }
}
