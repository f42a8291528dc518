//! Growing a tree: `branch` and `branches`, each with a step that is replayed or run.

use std::sync::Arc;

use futures_util::future::join_all;
use mlua::{Lua, Table, UserDataMethods, Value};

use crate::error::{Error, Result};
use crate::lua::handle::snapshot::Snapshot;
use crate::lua::runtime::context::Context;
use crate::lua::verb::build::{build, look_into};
use crate::lua::verb::plan;
use crate::lua::verb::step::Branch;
use crate::name::SnapshotName;
use crate::tree::{Found, NodeId};

pub fn add_methods<M: UserDataMethods<Snapshot>>(methods: &mut M) {
    methods.add_async_method("branch", |lua, this, (name, step, options): (String, Value, Value)| async move {
        let branch = Branch::read("snapshot:branch", name, step, options)?;
        Ok(grow_on(&lua, &this, branch).await?)
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
            branches.push(Branch::plain(name, step)?);
        }
        // Lua's tables have no order, but the reports of a run should.
        branches.sort_by(|a, b| a.wanted.name.cmp(&b.wanted.name));
        let grown = lua.create_table()?;
        for snapshot in grow_all(&lua, &this, branches).await? {
            grown.set(snapshot.name.to_string(), snapshot)?;
        }
        Ok(grown)
    });
}

/// Makes a branch a child of `parent`.
pub async fn grow_on(lua: &Lua, parent: &Snapshot, branch: Branch) -> Result<Option<Snapshot>> {
    Ok(grow_all(lua, parent, vec![branch]).await?.pop())
}

/// Makes the branches children of `parent`, or adds them to a plan; those that are not needed are skipped.
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

/// Returns the branches in order: the existing ones are reused, the others are built at the same time.
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
                Found::Needed(reason) => build(branch, lua, context, parent, memory, reason).await,
            }
        });
        let (mut grown, mut failures) = (Vec::with_capacity(branches.len()), Vec::new());
        for (branch, ended) in branches.iter().zip(join_all(growing).await) {
            // Only now, so that the user does not type while another branch is being built.
            let ended = match (ended, &context.on_failure.then) {
                (Err(error), Some(then)) => look_into(branch, lua, context, parent, memory, then, error).await,
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
