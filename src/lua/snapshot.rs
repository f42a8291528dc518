//! `snapshot`: a node of a tree, from which branches grow.

use std::sync::Arc;

use futures_util::future::join_all;
use mlua::{Function, Lua, Table, UserData, UserDataFields, UserDataMethods, Value};

use super::context::Context;
use super::error::from_lua;
use super::guest::{Divergence, Guest};
use super::options::Options;
use crate::error::{Error, Result};
use crate::name::SnapshotName;
use crate::tree::{Event, NodeId, Session};

pub struct Snapshot(pub NodeId);

/// How a step ended that nothing stopped.
enum Ended {
    Finished,
    /// The replay went another way than the journal.
    Diverged(String),
}

impl UserData for Snapshot {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("name", |_, this| Ok(this.0.name.to_string()));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("branch", |lua, this, (name, step, options): (String, Value, Value)| async move {
            let context = Context::of(&lua)?;
            let options = Options::read("snapshot:branch", options, &["comment"])?;
            let comment = options.string("comment")?.unwrap_or_default();
            let name = SnapshotName::new(name)?;
            let step = step_of(&name, step)?;
            context.declare(&lua, &this.0.machine, Some(&name))?;
            Ok(Snapshot(grow(&lua, &context, &this.0, &name, &step, &comment).await?))
        });
        methods.add_async_method("branches", |lua, this, steps: Table| async move {
            let context = Context::of(&lua)?;
            let mut branches = Vec::new();
            for pair in steps.pairs::<String, Value>() {
                let (name, step) = pair?;
                let name = SnapshotName::new(name)?;
                let step = step_of(&name, step)?;
                branches.push((name, step));
            }
            // Lua's tables have no order; the reports of a run should.
            branches.sort_by(|(a, _), (b, _)| a.cmp(b));
            for (name, _) in &branches {
                context.declare(&lua, &this.0.machine, Some(name))?;
            }
            let parent = &this.0;
            let growing = branches.iter().map(|(name, step)| grow(&lua, &context, parent, name, step, ""));
            let (mut grown, mut failures) = (lua.create_table()?, Vec::new());
            for result in join_all(growing).await {
                match result {
                    Ok(node) => insert(&lua, &mut grown, node)?,
                    Err(error) => failures.push(error),
                }
            }
            match Error::together(failures) {
                Some(error) => Err(error.into()),
                None => Ok(grown),
            }
        });
    }
}

fn insert(lua: &Lua, table: &mut Table, node: NodeId) -> mlua::Result<()> {
    table.set(node.name.to_string(), lua.create_userdata(Snapshot(node))?)
}

fn step_of(name: &SnapshotName, step: Value) -> Result<Function> {
    match step {
        Value::Function(step) => Ok(step),
        other => Err(Error::failed(format!("the step of `{name}` must be a function, not a {}", other.type_name()))
            .hint("snapshot:branch(\"name\", function(guest) ... end)")),
    }
}

/// Returns the branch that `step` makes of `parent`: the one that is there, or else a new one.
async fn grow(
    lua: &Lua,
    context: &Arc<Context>,
    parent: &NodeId,
    name: &SnapshotName,
    step: &Function,
    comment: &str,
) -> Result<NodeId> {
    loop {
        let (place, wanted) = (parent.clone(), name.clone());
        let recalled = context.blocking(move |engine| engine.recall(&place, &wanted)).await?;
        let mut reason = recalled.reason;
        for candidate in recalled.candidates {
            let why = match run(lua, step, Arc::clone(&candidate.session)).await? {
                Ended::Diverged(why) => why,
                Ended::Finished => {
                    let place = parent.clone();
                    match context.blocking(move |engine| engine.accept(&place, &candidate)).await? {
                        Ok(node) => return Ok(node),
                        Err(why) => why,
                    }
                }
            };
            reason.get_or_insert(why);
        }
        let reason = reason.unwrap_or_else(|| "it does not exist yet".to_string());
        let permit = context.jobs.acquire().await.map_err(|cause| Error::bug("the jobs are closed").cause(cause))?;
        let (place, wanted) = (parent.clone(), name.clone());
        let build = context.blocking(move |engine| engine.start_build(&place, &wanted, &reason)).await;
        let result = match build {
            Ok(None) => continue,
            Err(error) => Err(error),
            Ok(Some(build)) => match run(lua, step, Arc::clone(&build.session)).await {
                Ok(_) => {
                    let (place, wanted, comment) = (parent.clone(), name.clone(), comment.to_string());
                    context.blocking(move |engine| engine.graft(&place, &wanted, &comment, build)).await
                }
                Err(error) => context.blocking(move |_| { drop(build); Err(error) }).await,
            },
        };
        drop(permit);
        return result.inspect_err(|_| {
            let (machine, node) = (parent.machine.to_string(), name.to_string());
            context.engine.events.emit(Event::NodeFailed { machine, node });
        });
    }
}

/// Runs a step against a session until it ends, fails, or a replay diverges.
async fn run(lua: &Lua, step: &Function, session: Arc<Session>) -> Result<Ended> {
    let divergence = Arc::new(Divergence::default());
    let guest = Guest::new(session, Arc::clone(&divergence));
    let thread = lua.create_thread(step.clone()).map_err(|error| from_lua(&error))?;
    let running = thread.into_async::<()>(guest).map_err(|error| from_lua(&error))?;
    tokio::select! {
        biased;
        reason = divergence.raised() => Ok(Ended::Diverged(reason)),
        ended = running => ended.map(|()| Ended::Finished).map_err(|error| from_lua(&error)),
    }
}
