//! The functions that exist only at the prompt: `use`, `back`, `snapshot`, `revert`, `undo`, `tree`, `help`, `show`,
//! `retry`, and the working fork's guest.

use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use mlua::{Function, Lua, MetaMethod, UserData, UserDataFields, UserDataMethods, Value};

use crate::error::{Error, Result};
use crate::lua::api::guest;
use crate::lua::handle::domain::Domain;
use crate::lua::handle::guest::{Guest, InGuest};
use crate::lua::handle::snapshot::Snapshot;
use crate::lua::prompt::desk::{At, Desk};
use crate::lua::prompt::help;
use crate::lua::runtime::connections::Connections;
use crate::lua::runtime::context::Context;
use crate::lua::stdlib::STDLIB;
use crate::lua::value::error::{kind_of, no_such_field};
use crate::lua::value::options::{Options, whole_number};
use crate::lua::value::show;
use crate::name::{MachineName, SnapshotName, SnapshotPath, Target};
use crate::tree;
use crate::tree::{Engine, Event, TreeView, Wanted, Work};

/// Makes a desk with them.
pub fn desk(
    lua: &Lua,
    connections: Arc<Connections>,
    script: Option<(PathBuf, Vec<OsString>)>,
) -> mlua::Result<Rc<Desk>> {
    let desk = Rc::new(Desk::new(lua, connections, script)?);
    install(&desk)?;
    Ok(desk)
}

fn install(desk: &Rc<Desk>) -> mlua::Result<()> {
    let (lua, names) = (&desk.lua, &desk.names);
    names.raw_set("use", acting(desk, use_)?)?;
    names.raw_set("revert", acting(desk, revert)?)?;
    names.raw_set("back", acting(desk, back)?)?;
    names.raw_set("snapshot", with_options(desk)?)?;
    names.raw_set("undo", acting(desk, undo)?)?;
    names.raw_set("tree", acting(desk, tree)?)?;
    let weak = Rc::downgrade(desk);
    names.raw_set("retry", lua.create_function(move |_, ()| Ok(strong(&weak)?.retry()?))?)?;
    names.raw_set("show", lua.create_function(show_)?)?;
    let weak = Rc::downgrade(desk);
    let help = move |lua: &Lua, value: Value| print(lua, &help::on_value(&*strong(&weak)?, &value)?);
    names.raw_set("help", lua.create_function(help)?)?;
    let here = lua.create_userdata(Here(Rc::downgrade(desk)))?;
    names.raw_set("guest", &here)?;
    let prelude = lua.load(include_str!("prompt.lua")).set_name(format!("@{STDLIB}/prompt.lua"));
    prelude.call::<()>((names, here, lua.create_sequence_from(guest::METHODS)?))
}

fn strong(desk: &Weak<Desk>) -> Result<Rc<Desk>> {
    desk.upgrade().ok_or_else(|| Error::failed("the prompt is closed"))
}

/// Makes a Lua function from an asynchronous one that takes one argument.
fn acting<F, T>(desk: &Rc<Desk>, act: fn(Rc<Desk>, Value) -> F) -> mlua::Result<Function>
where
    F: Future<Output = Result<T>> + 'static,
    T: mlua::IntoLuaMulti + 'static,
{
    let weak = Rc::downgrade(desk);
    desk.lua.create_async_function(move |_, argument: Value| {
        let desk = strong(&weak);
        async move { Ok(act(desk?, argument).await?) }
    })
}

/// Finds the snapshot that a value names, and its connection.
async fn meant(desk: &Desk, function: &str, value: &Value) -> Result<(Arc<Context>, SnapshotPath)> {
    if let Some(snapshot) = Snapshot::of(value) {
        let context = Arc::clone(&snapshot.domain.context);
        return Ok((context, SnapshotPath { machine: snapshot.domain.name.clone(), snapshot: snapshot.name }));
    }
    let hint = format!("{function}(\"MACHINE/SNAPSHOT\"), or {function}(a snapshot)");
    let Value::String(text) = value else {
        let message = format!("{function}: where? not {}", kind_of(value));
        return Err(Error::failed(message).hint(hint));
    };
    let context = Arc::clone(desk.context());
    match text.to_string_lossy().parse::<Target>().map_err(|error| Error { hint: Some(hint), ..error })? {
        Target::Snapshot(path) => Ok((context, path)),
        Target::Machine(machine) => {
            let name = machine.clone();
            let seen = context.blocking(move |engine| engine.existing_now(&name)).await?;
            let current = seen.current().map(|node| SnapshotName::existing(node.name())).transpose()?;
            let snapshot = current.ok_or_else(|| {
                Error::failed(format!("`{machine}` has no current snapshot"))
                    .hint(format!("use(\"{machine}/SNAPSHOT\"); tree(\"{machine}\") shows what there is"))
            })?;
            Ok((context, SnapshotPath { machine, snapshot }))
        }
    }
}

async fn use_(desk: Rc<Desk>, place: Value) -> Result<()> {
    let (context, path) = meant(&desk, "use", &place).await?;
    work_on(&desk, context, path).await
}

/// Restarts the working fork from its snapshot or from another one.
async fn revert(desk: Rc<Desk>, place: Value) -> Result<()> {
    if !place.is_nil() {
        let (context, path) = meant(&desk, "revert", &place).await?;
        return work_on(&desk, context, path).await;
    }
    let At { context, work } = desk.here()?;
    let path = SnapshotPath { machine: work.of.machine.clone(), snapshot: work.of.name.clone() };
    work_on(&desk, context, path).await
}

async fn work_on(desk: &Desk, context: Arc<Context>, path: SnapshotPath) -> Result<()> {
    let work = context.blocking(move |engine| tree::work_on(engine, &path)).await?;
    desk.work_in(Some(At { context, work: Arc::new(work) }));
    Ok(())
}

async fn back(desk: Rc<Desk>, count: Value) -> Result<()> {
    let count = whole_number("back", "the number of operations", &count)?.unwrap_or(1);
    let At { context, work } = desk.here()?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let work = context.blocking(move |engine| tree::go_back(engine, &work, count)).await?;
    desk.work_in(Some(At { context, work: Arc::new(work) }));
    Ok(())
}

fn with_options(desk: &Rc<Desk>) -> mlua::Result<Function> {
    let weak = Rc::downgrade(desk);
    desk.lua.create_async_function(move |lua, (name, options): (String, Value)| {
        let desk = strong(&weak);
        async move { Ok(snapshot(lua, desk?, name, options).await?) }
    })
}

async fn snapshot(lua: Lua, desk: Rc<Desk>, name: String, options: Value) -> Result<Snapshot> {
    let comment = Options::read("snapshot", options, &["comment"])?.string("comment")?.unwrap_or_default();
    let At { context, work } = desk.here()?;
    let name = SnapshotName::new(name)?;
    context.declare(&lua, &work.of.machine, Some(&name))?;
    let wanted = Wanted { comment, ..Wanted::new(name) };
    let work = Arc::new(context.blocking(move |engine| tree::keep_work(engine, &work, &wanted)).await?);
    let domain = Domain::new(Arc::clone(&context), work.of.machine.clone());
    let kept = Snapshot::grown(&domain, work.of.clone());
    desk.work_in(Some(At { context, work }));
    Ok(kept)
}

/// Undoes the last change to a machine's tree.
async fn undo(desk: Rc<Desk>, machine: Value) -> Result<String> {
    let (context, machine) = machine_meant(&desk, "undo", machine)?;
    let machine = machine.ok_or_else(|| {
        Error::failed("undo: of which machine?").hint("undo(\"MACHINE\"); back() undoes operations in a working fork")
    })?;
    context.blocking(move |engine| tree::undo(engine, &machine, None)).await
}

async fn tree(desk: Rc<Desk>, machine: Value) -> Result<String> {
    let (context, machine) = machine_meant(&desk, "tree", machine)?;
    context.blocking(move |engine| drawn(engine, machine.as_ref())).await
}

/// Draws the tree of a machine, or of every machine.
pub fn drawn(engine: &Engine, machine: Option<&MachineName>) -> Result<String> {
    let trees = tree::trees(engine, machine)?;
    Ok(TreeView::draw_all(&trees, trees.len() > 1))
}

fn machine_meant(desk: &Desk, function: &str, value: Value) -> Result<(Arc<Context>, Option<MachineName>)> {
    match (value, desk.at()) {
        (Value::Nil, Some(At { context, work })) => Ok((context, Some(work.of.machine.clone()))),
        (Value::Nil, None) => Ok((Arc::clone(desk.context()), None)),
        (Value::String(name), _) => {
            Ok((Arc::clone(desk.context()), Some(MachineName::existing(name.to_string_lossy())?)))
        }
        (value, _) => Err(Error::failed(format!("{function}: a machine is named, not {}", kind_of(&value)))
            .hint(format!("{function}(\"MACHINE\")"))),
    }
}

/// Prints a value in full.
fn show_(lua: &Lua, value: Value) -> mlua::Result<()> {
    print(lua, &show::whole(lua, &value))
}

fn print(lua: &Lua, text: &str) -> mlua::Result<()> {
    Context::of(lua)?.engine.events.emit(Event::Printed(text.trim_end().to_string()));
    Ok(())
}

/// The guest of whatever the working fork is at the moment.
struct Here(Weak<Desk>);

impl InGuest for Here {
    const STREAMS: bool = true;

    fn guest(&self) -> Result<Guest> {
        let work: Arc<Work> = strong(&self.0)?.here()?.work;
        Ok(Guest::new(work.session.clone(), Arc::default()))
    }
}

impl UserData for Here {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(MetaMethod::Type, "guest");
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        guest::add_methods(methods);
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| {
            let at = strong(&this.0).ok().and_then(|desk| desk.at());
            Ok(at.map_or_else(|| "guest of nothing".to_string(), |at| format!("guest of {}", at.work.place())))
        });
        methods.add_meta_method(MetaMethod::Index, |_, _, key: Value| {
            Err::<Value, _>(no_such_field("a guest", &key, &guest::METHODS))
        });
    }
}
