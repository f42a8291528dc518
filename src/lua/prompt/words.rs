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
use crate::lua::prompt::help;
use crate::lua::prompt::prompt::{At, Prompt};
use crate::lua::runtime::connections::Connections;
use crate::lua::runtime::context::Context;
use crate::lua::stdlib::STDLIB;
use crate::lua::value::error::{kind_of, no_such_field};
use crate::lua::value::options::{Options, whole_number};
use crate::lua::value::show;
use crate::name::{MachineName, SnapshotName, SnapshotPath, Target};
use crate::tree;
use crate::tree::{BranchSpec, Engine, Event, TreeView, WorkingFork};

/// Makes a prompt with them.
pub fn prompt(
    lua: &Lua,
    connections: Arc<Connections>,
    script: Option<(PathBuf, Vec<OsString>)>,
) -> mlua::Result<Rc<Prompt>> {
    let prompt = Rc::new(Prompt::new(lua, connections, script)?);
    install(&prompt)?;
    Ok(prompt)
}

fn install(prompt: &Rc<Prompt>) -> mlua::Result<()> {
    let (lua, names) = (&prompt.lua, &prompt.names);
    names.raw_set("use", acting(prompt, use_)?)?;
    names.raw_set("revert", acting(prompt, revert)?)?;
    names.raw_set("back", acting(prompt, back)?)?;
    names.raw_set("snapshot", with_options(prompt)?)?;
    names.raw_set("undo", acting(prompt, undo)?)?;
    names.raw_set("tree", acting(prompt, tree)?)?;
    let weak = Rc::downgrade(prompt);
    names.raw_set("retry", lua.create_function(move |_, ()| Ok(strong(&weak)?.retry()?))?)?;
    names.raw_set("show", lua.create_function(show_)?)?;
    let weak = Rc::downgrade(prompt);
    let help = move |lua: &Lua, value: Value| print(lua, &help::on_value(&*strong(&weak)?, &value)?);
    names.raw_set("help", lua.create_function(help)?)?;
    let here = lua.create_userdata(Here(Rc::downgrade(prompt)))?;
    names.raw_set("guest", &here)?;
    let prelude = lua.load(include_str!("prompt.lua")).set_name(format!("@{STDLIB}/prompt.lua"));
    prelude.call::<()>((names, here, lua.create_sequence_from(guest::METHODS)?))
}

fn strong(prompt: &Weak<Prompt>) -> Result<Rc<Prompt>> {
    prompt.upgrade().ok_or_else(|| Error::failed("the prompt is closed"))
}

/// Makes a Lua function from an asynchronous one that takes one argument.
fn acting<F, T>(prompt: &Rc<Prompt>, act: fn(Rc<Prompt>, Value) -> F) -> mlua::Result<Function>
where
    F: Future<Output = Result<T>> + 'static,
    T: mlua::IntoLuaMulti + 'static,
{
    let weak = Rc::downgrade(prompt);
    prompt.lua.create_async_function(move |_, argument: Value| {
        let prompt = strong(&weak);
        async move { Ok(act(prompt?, argument).await?) }
    })
}

/// Finds the snapshot that a value names, and its connection.
async fn meant(prompt: &Prompt, function: &str, value: &Value) -> Result<(Arc<Context>, SnapshotPath)> {
    if let Some(snapshot) = Snapshot::of(value) {
        let context = Arc::clone(&snapshot.domain.context);
        return Ok((context, SnapshotPath { machine: snapshot.domain.name.clone(), snapshot: snapshot.name }));
    }
    let hint = format!("{function}(\"MACHINE/SNAPSHOT\"), or {function}(a snapshot)");
    let Value::String(text) = value else {
        let message = format!("{function}: where? not {}", kind_of(value));
        return Err(Error::failed(message).hint(hint));
    };
    let context = Arc::clone(prompt.context());
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

async fn use_(prompt: Rc<Prompt>, place: Value) -> Result<()> {
    let (context, path) = meant(&prompt, "use", &place).await?;
    work_on(&prompt, context, path).await
}

/// Restarts the working fork from its snapshot or from another one.
async fn revert(prompt: Rc<Prompt>, place: Value) -> Result<()> {
    if !place.is_nil() {
        let (context, path) = meant(&prompt, "revert", &place).await?;
        return work_on(&prompt, context, path).await;
    }
    let At { context, work } = prompt.here()?;
    let path = SnapshotPath { machine: work.of.machine.clone(), snapshot: work.of.name.clone() };
    work_on(&prompt, context, path).await
}

async fn work_on(prompt: &Prompt, context: Arc<Context>, path: SnapshotPath) -> Result<()> {
    let work = context.blocking(move |engine| tree::work_on(engine, &path)).await?;
    prompt.work_in(Some(At { context, work: Arc::new(work) }));
    Ok(())
}

async fn back(prompt: Rc<Prompt>, count: Value) -> Result<()> {
    let count = whole_number("back", "the number of operations", &count)?.unwrap_or(1);
    let At { context, work } = prompt.here()?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let work = context.blocking(move |engine| tree::go_back(engine, &work, count)).await?;
    prompt.work_in(Some(At { context, work: Arc::new(work) }));
    Ok(())
}

fn with_options(prompt: &Rc<Prompt>) -> mlua::Result<Function> {
    let weak = Rc::downgrade(prompt);
    prompt.lua.create_async_function(move |lua, (name, options): (String, Value)| {
        let prompt = strong(&weak);
        async move { Ok(snapshot(lua, prompt?, name, options).await?) }
    })
}

async fn snapshot(lua: Lua, prompt: Rc<Prompt>, name: String, options: Value) -> Result<Snapshot> {
    let comment = Options::read("snapshot", options, &["comment"])?.string("comment")?.unwrap_or_default();
    let At { context, work } = prompt.here()?;
    let name = SnapshotName::new(name)?;
    context.declare(&lua, &work.of.machine, Some(&name))?;
    let wanted = BranchSpec { comment, ..BranchSpec::new(name) };
    let work = Arc::new(context.blocking(move |engine| tree::keep_work(engine, &work, &wanted)).await?);
    let domain = Domain::new(Arc::clone(&context), work.of.machine.clone());
    let kept = Snapshot::grown(&domain, work.of.clone());
    prompt.work_in(Some(At { context, work }));
    Ok(kept)
}

/// Undoes the last change to a machine's tree.
async fn undo(prompt: Rc<Prompt>, machine: Value) -> Result<String> {
    let (context, machine) = machine_meant(&prompt, "undo", machine)?;
    let machine = machine.ok_or_else(|| {
        Error::failed("undo: of which machine?").hint("undo(\"MACHINE\"); back() undoes operations in a working fork")
    })?;
    context.blocking(move |engine| tree::undo(engine, &machine, None)).await
}

async fn tree(prompt: Rc<Prompt>, machine: Value) -> Result<String> {
    let (context, machine) = machine_meant(&prompt, "tree", machine)?;
    context.blocking(move |engine| drawn(engine, machine.as_ref())).await
}

/// Draws the tree of a machine, or of every machine.
pub fn drawn(engine: &Engine, machine: Option<&MachineName>) -> Result<String> {
    let trees = tree::trees(engine, machine)?;
    Ok(TreeView::draw_all(&trees, trees.len() > 1))
}

fn machine_meant(prompt: &Prompt, function: &str, value: Value) -> Result<(Arc<Context>, Option<MachineName>)> {
    match (value, prompt.at()) {
        (Value::Nil, Some(At { context, work })) => Ok((context, Some(work.of.machine.clone()))),
        (Value::Nil, None) => Ok((Arc::clone(prompt.context()), None)),
        (Value::String(name), _) => {
            Ok((Arc::clone(prompt.context()), Some(MachineName::existing(name.to_string_lossy())?)))
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
struct Here(Weak<Prompt>);

impl InGuest for Here {
    const STREAMS: bool = true;

    fn guest(&self) -> Result<Guest> {
        let work: Arc<WorkingFork> = strong(&self.0)?.here()?.work;
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
            let at = strong(&this.0).ok().and_then(|prompt| prompt.at());
            Ok(at.map_or_else(|| "guest of nothing".to_string(), |at| format!("guest of {}", at.work.place())))
        });
        methods.add_meta_method(MetaMethod::Index, |_, _, key: Value| {
            Err::<Value, _>(no_such_field("a guest", &key, &guest::METHODS))
        });
    }
}
