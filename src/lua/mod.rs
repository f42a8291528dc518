//! Scripts: the one place that knows Lua.
//!
//! A script runs as one coroutine on one Lua state. What waits (for a guest, for libvirt) is an asynchronous
//! function here and a blocking call of the engine on a thread of its own, so that several branches can be built at
//! the same time.

mod branch;
mod budget;
mod connection;
mod contents;
mod context;
mod control;
mod domain;
mod endings;
mod error;
mod fork;
mod guest;
mod host;
mod image;
mod machine;
mod manual;
mod opened;
mod options;
mod parallel;
mod params;
mod plan;
mod prompt;
mod require;
mod snapshot;
mod take;
mod tokens;
mod tree;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mlua::{HookTriggers, Lua, MultiValue, Value, VmState};

use crate::error::{Because, Error, Kind, Result};
use crate::image::ImageCache;
use crate::name::MachineName;
use crate::stop::Interrupt;
use crate::tree::{Engine, Event, Events};
use connection::Connections;
use context::{Context, OnFailure};
use control::{Control, no_such_param};
pub use control::{Orders, Planned};
use error::from_lua;
pub use manual::stubs;
pub use prompt::{Asker, Asks, Door, conversation, is_whole, run_prompt};
use require::Modules;
pub use tokens::{Kind as TokenKind, tokens};

/// Opens another connection, by its URI.
pub type Connector = Arc<dyn Fn(&str) -> Result<Arc<Engine>> + Send + Sync>;

/// What a script is run with.
pub struct Settings<'a> {
    pub engine: Arc<Engine>,
    pub connect: Connector,
    /// Where images are cached.
    pub cache: &'a Path,
    /// The most builders at the same time.
    pub jobs: usize,
    /// Whether what is left of a step that failed is kept, where the branch does not say.
    pub keep_failed: bool,
    /// Opens a prompt on a step that failed, where one is wanted.
    pub door: Option<Door>,
    /// The user's own modules.
    pub stdlib: &'a Path,
    pub orders: &'a Orders,
}

/// A script with its arguments.
#[derive(Clone, Copy)]
pub struct Script<'a> {
    pub file: &'a Path,
    pub arguments: &'a [String],
}

/// Runs a script to its end; returns the machines that it declared.
///
/// `planned` is what a plan of it has told, which orders other than parameters need.
pub fn run_script(settings: Settings, script: Script, planned: Option<&Planned>) -> Result<Vec<MachineName>> {
    let context = settings.context(Control::running(settings.orders, planned))?;
    State::new(&context, Arc::clone(&settings.connect), settings.modules(Some(script)))?.execute(script)?;
    match context.control.params.unasked() {
        Some(key) => Err(no_such_param(key, &context.control.params.asked())),
        None => Ok(context.machines()),
    }
}

/// Finds out what a run of a script would build, and changes nothing; `events` gets what the script prints.
pub fn plan_script(settings: Settings, script: Script, events: &Events) -> Result<Planned> {
    let control = Arc::new(Control::planning(settings.orders));
    let engine = Arc::new(settings.engine.planning(events.clone()));
    let images = Arc::new(ImageCache::looking(settings.cache));
    let (open, muted) = (Arc::clone(&settings.connect), events.clone());
    let connect: Connector = Arc::new(move |uri| Ok(Arc::new(open(uri)?.planning(muted.clone()))));
    let context = Arc::new(Context::new(engine, images, settings.jobs, control, OnFailure::default()));
    match State::new(&context, connect, settings.modules(Some(script)))?.execute(script) {
        Err(error) if error.kind == Kind::Interrupted => Err(error),
        ended => Ok(context.control.planned(ended.err())),
    }
}

impl Settings<'_> {
    fn context(&self, control: Control) -> Result<Arc<Context>> {
        let images = Arc::new(ImageCache::open(self.cache));
        let on_failure = OnFailure { keep: self.keep_failed, door: self.door.clone() };
        let engine = Arc::clone(&self.engine);
        Ok(Arc::new(Context::new(engine, images, self.jobs, Arc::new(control), on_failure)))
    }

    fn modules(&self, script: Option<Script>) -> Modules {
        let beside = script.and_then(|script| script.file.parent()).filter(|parent| !parent.as_os_str().is_empty());
        Modules { directories: vec![beside.unwrap_or(Path::new(".")).to_path_buf(), self.stdlib.to_path_buf()] }
    }
}

/// A Lua state, and what lets it wait.
struct State {
    // It waits for what is under way, so it goes before what that works with.
    runtime: tokio::runtime::Runtime,
    lua: Lua,
    context: Arc<Context>,
    connections: Arc<Connections>,
}

impl State {
    fn new(context: &Arc<Context>, connect: Connector, modules: Modules) -> Result<Self> {
        let connections = Arc::new(Connections::new(Arc::clone(context), connect));
        let lua = state(context, Arc::clone(&connections), modules).map_err(|error| from_lua(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .because(|| "cannot start the runtime".to_string())?;
        Ok(Self { runtime, lua, context: Arc::clone(context), connections })
    }

    fn execute(self, script: Script) -> Result<()> {
        let Script { file, arguments } = script;
        let source = read_script(file)?;
        self.context.control.loaded(&source);
        let interrupt = self.context.engine.interrupt.clone();
        let name = format!("@{}", file.display());
        let lua = &self.lua;
        let result = self.runtime.block_on(async {
            let running = async {
                set_arguments(lua, file, arguments)?;
                let main = lua.load(source).set_name(name).into_function()?;
                main.call_async::<()>(MultiValue::from_iter(strings(lua, arguments)?)).await
            };
            tokio::select! {
                biased;
                () = self.context.prompts.interrupted(&interrupt) => Err(Error::interrupted()),
                ended = running => ended.map_err(|error| from_lua(&error)),
            }
        });
        interrupt.check()?;
        result
    }
}

/// Reads a script; a first line for the kernel is a comment.
fn read_script(file: &Path) -> Result<Vec<u8>> {
    let mut source = std::fs::read(file)
        .map_err(|cause| Error::usage(format!("cannot read the script `{}`", file.display())).cause(cause))?;
    if source.starts_with(b"#!") {
        source.splice(..2, *b"--");
    }
    Ok(source)
}

async fn interrupted(interrupt: &Interrupt) {
    const TICK: Duration = Duration::from_millis(50);
    while !interrupt.is_raised() {
        tokio::time::sleep(TICK).await;
    }
}

fn strings(lua: &Lua, arguments: &[String]) -> mlua::Result<Vec<Value>> {
    arguments.iter().map(|argument| lua.create_string(argument).map(Value::String)).collect()
}

fn set_arguments(lua: &Lua, script: &Path, arguments: &[String]) -> mlua::Result<()> {
    let table = lua.create_sequence_from(arguments.iter().map(String::as_str))?;
    table.set(0, script.display().to_string())?;
    lua.globals().set("arg", table)
}

/// Makes a Lua state with the API in it.
fn state(context: &Arc<Context>, connections: Arc<Connections>, modules: Modules) -> mlua::Result<Lua> {
    let lua = Lua::new();
    lua.set_app_data(Arc::clone(context));
    lua.set_app_data(Arc::clone(&connections));
    lua.set_app_data(modules.clone());
    let globals = lua.globals();
    globals.set("machine", machine::table(&lua)?)?;
    globals.set("libvirt", connection::table(&lua, connections)?)?;
    globals.set("image", image::table(&lua)?)?;
    globals.set("host", host::table(&lua)?)?;
    globals.set("parallel", lua.create_async_function(parallel::parallel)?)?;
    globals.set("param", lua.create_function(params::param)?)?;
    globals.set("print", lua.create_function(print)?)?;
    globals.get::<mlua::Table>("os")?.set("exit", lua.create_function(exit)?)?;
    options::install(&lua)?;
    require::install(&lua, modules)?;
    let prelude = lua.load(include_str!("prelude.lua")).set_name(format!("@{}/prelude.lua", error::STDLIB));
    prelude.call::<()>((lua.create_function(is_pending)?, lua.create_function(caught)?))?;
    interrupt_loops(&lua, context.engine.interrupt.clone())?;
    Ok(lua)
}

/// Lets an interrupt end a loop that calls nothing of ours.
fn interrupt_loops(lua: &Lua, interrupt: Interrupt) -> mlua::Result<()> {
    const EVERY: u32 = 10_000;
    lua.set_global_hook(HookTriggers::new().every_nth_instruction(EVERY), move |lua, _| {
        if interrupt.is_raised() {
            // A pcall in the script catches this once, and meets it again at the very next instruction.
            lua.set_global_hook(HookTriggers::new().every_nth_instruction(1), |_, _| Err(Error::interrupted().into()))?;
            return Err(Error::interrupted().into());
        }
        Ok(VmState::Continue)
    })
}

/// Says whether a value is what mlua yields while an asynchronous function waits.
fn is_pending(_: &Lua, value: Value) -> mlua::Result<bool> {
    Ok(matches!(value, Value::LightUserData(pointer) if pointer == Lua::poll_pending()))
}

/// Replaces an error of ours by one that reads well; what else a script raises is its own affair.
fn caught(_: &Lua, value: Value) -> mlua::Result<Value> {
    Ok(match value {
        Value::Error(error) => Value::Error(Box::new(from_lua(&error).into())),
        other => other,
    })
}

fn print(lua: &Lua, values: MultiValue) -> mlua::Result<()> {
    let tostring: mlua::Function = lua.globals().get("tostring")?;
    let text = |value| tostring.call::<mlua::LuaString>(value).map(|text| text.to_string_lossy());
    let texts = values.into_iter().map(text).collect::<mlua::Result<Vec<String>>>()?;
    Context::of(lua)?.engine.events.emit(Event::Printed(texts.join("\t")));
    Ok(())
}

fn exit(_: &Lua, _: MultiValue) -> mlua::Result<()> {
    Err(Error::failed("os.exit is not available: it would leave builders behind")
        .hint("return ends the script, and error(\"why\") ends it as failed")
        .into())
}
