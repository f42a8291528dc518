//! Recipes on a machine that was opened: what it is while it is shut off becomes a root, from which branches grow.

use std::sync::Arc;

use mlua::{Lua, UserDataMethods, Value};

use crate::error::Result;
use crate::lua::handle::domain::Domain;
use crate::lua::handle::snapshot::Snapshot;
use crate::lua::value::options::Options;
use crate::lua::verb::branch::Branch;
use crate::lua::verb::plan;
use crate::name::SnapshotName;
use crate::tree::{Event, Found, Subject};

/// The root of `machine:branch`, which names none.
const ROOT: &str = "root";

pub fn add_methods<M: UserDataMethods<Domain>>(methods: &mut M) {
    methods.add_async_method("root", |lua, this, (name, options): (String, Value)| async move {
        let options = Options::read("machine:root", options, &["comment"])?;
        let comment = options.string("comment")?.unwrap_or_default();
        let name = SnapshotName::new(name)?;
        this.context.declare(&lua, &this.name, Some(&name))?;
        Ok(root(&this, name, comment).await?)
    });
    methods.add_async_method("branch", |lua, this, (name, step, options): (String, Value, Value)| async move {
        let branch = Branch::read("machine:branch", name, step, options)?;
        Ok(grow(&lua, &this, branch).await?)
    });
}

async fn grow(lua: &Lua, domain: &Domain, branch: Branch) -> Result<Option<Snapshot>> {
    let root = root(domain, SnapshotName::new(ROOT)?, String::new()).await?;
    branch.grow_on(lua, &root).await
}

async fn root(domain: &Domain, name: SnapshotName, comment: String) -> Result<Snapshot> {
    let context = Arc::clone(&domain.context);
    if !context.control.needs(&context.place(&domain.name, &name)) {
        return Ok(Snapshot::left_alone(domain, name));
    }
    let swept = domain.name.clone();
    context.blocking(move |engine| engine.sweep(&swept)).await?;
    let reason = loop {
        let (machine, wanted) = (domain.name.clone(), name.clone());
        let found = context.blocking(move |engine| engine.find_state_root(&machine, &wanted)).await?;
        match context.settle(&domain.name, &name, found)? {
            found if context.control.is_plan() => return Ok(plan::root(domain, name, found)),
            Found::Cached(node) | Found::KeptAside(node) => return Ok(Snapshot::grown(domain, node)),
            Found::Needed(reason) => {
                let machine = domain.name.clone();
                if !context.blocking(move |engine| engine.claim(&machine)).await? {
                    break reason;
                }
            }
        }
    };
    let events = &context.engine.events;
    let subject = Subject::node(&domain.name, &name);
    events.emit(Event::NodeStarted { subject: subject.clone(), reason: reason.to_string() });
    let (place, wanted) = (domain.name.clone(), name);
    let made = context.blocking(move |engine| engine.make_state_root(&place, &wanted, &comment)).await;
    let made = made.inspect_err(|_| events.emit(Event::NodeFailed { subject }))?;
    Ok(Snapshot::grown(domain, made))
}
