//! Roots, from which branches grow: a declared machine's root is made from its image, that of an opened machine from
//! its present state while it is shut off.

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
use crate::tree::{Engine, Event, Found, Subject, find_root, find_state_root, make_root, make_state_root};

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
    let Domain { context, name: machine, .. } = domain;
    if !context.control.needs(&context.place(machine, &name)) {
        return Ok(Snapshot::left_alone(domain, name));
    }
    let swept = machine.clone();
    context.blocking(move |engine| tree::sweep(engine, &swept)).await?;
    let (place, wanted) = (machine.clone(), name.clone());
    let find = move |engine: &Engine| find_state_root(engine, &place, &wanted);
    if let Some(present) = find_or_begin(domain, &name, find).await? {
        return Ok(present);
    }
    let subject = Subject::node(machine, &name);
    let place = machine.clone();
    let made = context.blocking(move |engine| make_state_root(engine, &place, &name, &comment)).await;
    let made = made.inspect_err(|_| context.engine.events.emit(Event::NodeFailed { subject }))?;
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
    let (place, wanted, definition) = (machine.clone(), name.clone(), declaration.definition.clone());
    let find = move |engine: &Engine| find_root(engine, &place, &wanted, &definition);
    if let Some(present) = find_or_begin(domain, &name, find).await? {
        return Ok(present);
    }
    let ready = declaration.image.ready(lua, context).await?;
    let (place, definition, expression) =
        (machine.clone(), declaration.definition.clone(), declaration.image.expression.clone());
    let make =
        move |engine: &Engine| make_root(engine, &place, &name, &comment, &definition, &ready, expression.as_deref());
    context.blocking(make).await.map(|node| Snapshot::grown(domain, node))
}

/// Looks for a root with `find`. If it has to be made, claims the tree for that, reports the beginning, and returns
/// nothing.
async fn find_or_begin(
    domain: &Domain,
    name: &SnapshotName,
    find: impl Fn(&Engine) -> Result<Found> + Clone + Send + 'static,
) -> Result<Option<Snapshot>> {
    let Domain { context, name: machine, .. } = domain;
    loop {
        let found = context.blocking(find.clone()).await?;
        match context.settle(machine, name, found)? {
            found if context.control.is_plan() => return Ok(Some(plan::root(domain, name.clone(), found))),
            Found::Cached(node) | Found::KeptAside(node) => return Ok(Some(Snapshot::grown(domain, node))),
            Found::Needed(reason) => {
                let place = machine.clone();
                if !context.blocking(move |engine| engine.claim(&place)).await? {
                    let (subject, reason) = (Subject::node(machine, name), reason.to_string());
                    context.engine.events.emit(Event::NodeStarted { subject, reason });
                    return Ok(None);
                }
            }
        }
    }
}
