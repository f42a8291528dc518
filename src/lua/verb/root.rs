//! Roots, from which branches grow: a declared machine's root is made from its image, that of an opened machine from
//! its present state while it is shut off.

use std::sync::Arc;

use mlua::Lua;

use crate::error::Result;
use crate::lua::handle::domain::Domain;
use crate::lua::handle::machine::{Declaration, Machine};
use crate::lua::handle::snapshot::Snapshot;
use crate::lua::verb::branch::grow_on;
use crate::lua::verb::plan;
use crate::lua::verb::step::Branch;
use crate::name::SnapshotName;
use crate::tree;
use crate::tree::{Event, Found, Subject};

/// The name of the root that `machine:branch` makes.
const ROOT: &str = "root";

/// Makes the root of a machine, or reuses a matching one.
pub async fn root(lua: &Lua, machine: &Machine, name: SnapshotName, comment: String) -> Result<Snapshot> {
    let Machine { domain, declaration } = machine;
    let Some(declaration) = declaration else { return of_state(domain, name, comment).await };
    let made = of_image(lua, domain, declaration, name.clone(), comment).await;
    made.inspect_err(|_| {
        let subject = Subject::node(&domain.name, &name);
        domain.context.engine.events.emit(Event::NodeFailed { subject });
    })
}

/// Grows a branch from the present state of an opened machine that is shut off.
pub async fn branch(lua: &Lua, domain: &Domain, branch: Branch) -> Result<Option<Snapshot>> {
    let root = of_state(domain, SnapshotName::new(ROOT)?, String::new()).await?;
    grow_on(lua, &root, branch).await
}

/// Makes a root from the present state of a machine that is shut off.
async fn of_state(domain: &Domain, name: SnapshotName, comment: String) -> Result<Snapshot> {
    let context = Arc::clone(&domain.context);
    if !context.control.needs(&context.place(&domain.name, &name)) {
        return Ok(Snapshot::left_alone(domain, name));
    }
    let swept = domain.name.clone();
    context.blocking(move |engine| tree::sweep(engine, &swept)).await?;
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

/// Makes the root of a declared machine from its image.
async fn of_image(
    lua: &Lua,
    domain: &Domain,
    declaration: &Declaration,
    name: SnapshotName,
    comment: String,
) -> Result<Snapshot> {
    let Domain { context, name: machine, .. } = domain;
    if !context.control.needs(&context.place(machine, &name)) {
        return Ok(Snapshot::left_alone(domain, name));
    }
    let reason = loop {
        let (place, wanted, definition) = (machine.clone(), name.clone(), declaration.definition.clone());
        let found = context.blocking(move |engine| engine.find_root(&place, &wanted, &definition)).await?;
        match context.settle(machine, &name, found)? {
            found if context.control.is_plan() => return Ok(plan::root(domain, name, found)),
            Found::Cached(node) | Found::KeptAside(node) => return Ok(Snapshot::grown(domain, node)),
            Found::Needed(reason) => {
                let place = machine.clone();
                if !context.blocking(move |engine| engine.claim(&place)).await? {
                    break reason;
                }
            }
        }
    };
    let events = &context.engine.events;
    let subject = Subject::node(machine, &name);
    events.emit(Event::NodeStarted { subject, reason: reason.to_string() });
    let ready = declaration.image.ready(lua, context).await?;
    let (place, definition, expression) =
        (machine.clone(), declaration.definition.clone(), declaration.image.expression.clone());
    let made = context
        .blocking(move |engine| engine.make_root(&place, &name, &comment, &definition, &ready, expression.as_deref()));
    made.await.map(|node| Snapshot::grown(domain, node))
}
