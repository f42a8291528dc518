//! Scripts: the one place that knows Lua.
//!
//! A script runs as one coroutine on one Lua state. What waits (for a guest, for libvirt) is an asynchronous
//! function here and a blocking call of the engine on a thread of its own, so that several branches can be built at
//! the same time.

mod api;
mod handle;
mod manual;
mod prompt;
mod runtime;
#[cfg(test)]
mod tests;
mod value;
mod verb;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mlua::chunk::ChunkMode;
use mlua::{Function, HookTriggers, Lua, MultiValue, Table, Thread, Value, VmState};

use crate::error::{Because, Error, Kind, Result};
use crate::image::ImageCache;
use crate::name::MachineName;
use crate::stop::Interrupt;
use crate::tree::{Engine, Event, Events};
use api::connection::Connections;
use api::require::Modules;
use api::{connection, host, machine, parallel, require};
use handle::image;
pub use manual::stubs;
pub use prompt::{is_whole, run_prompt};
pub use runtime::ask::{Asker, Asks, Door, conversation};
use runtime::budget::memory_of_host;
use runtime::context::{Context, OnFailure};
use runtime::control::{Control, no_such_param};
pub use runtime::control::{Orders, Planned};
use runtime::raised::Call;
use runtime::{params, raised};
use value::error::from_lua;
pub use value::source::UTF8_MARK;
use value::source::read_script;
pub use value::tokens::{Kind as TokenKind, tokens};
use value::{error, options};

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
    pub arguments: &'a [OsString],
}

/// A script that was read: it may come through a pipe, which gives it once.
pub struct Program<'a> {
    script: Script<'a>,
    text: Vec<u8>,
}

impl<'a> Script<'a> {
    pub fn read(self) -> Result<Program<'a>> {
        Ok(Program { script: self, text: read_script(self.file)? })
    }
}

/// How a script ended that did not fail.
pub struct Ended {
    /// The machines that it declared.
    pub machines: Vec<MachineName>,
    /// What `os.exit` said, where the script called it.
    pub exit_code: Option<i32>,
}

/// Runs a script to its end.
///
/// `planned` is what a plan of it has told, which orders other than parameters need.
pub fn run_script(settings: Settings, program: &Program, planned: Option<&Planned>) -> Result<Ended> {
    let context = settings.context(Control::running(settings.orders, planned))?;
    let modules = settings.modules(Some(program.script));
    State::new(&context, Arc::clone(&settings.connect), modules)?.execute(program)?;
    let exit_code = context.exit_code();
    match context.control.params.unasked().filter(|_| exit_code.is_none()) {
        Some(key) => Err(no_such_param(key, &context.control.params.asked())),
        None => Ok(Ended { machines: context.machines(), exit_code }),
    }
}

/// Finds out what a run of a script would build, and changes nothing; `events` gets what the script prints.
pub fn plan_script(settings: Settings, program: &Program, events: &Events) -> Result<Planned> {
    let control = Arc::new(Control::planning(settings.orders));
    let engine = Arc::new(settings.engine.planning(events.clone()));
    let images = Arc::new(ImageCache::looking(settings.cache));
    let (open, muted) = (Arc::clone(&settings.connect), events.clone());
    let connect: Connector = Arc::new(move |uri| Ok(Arc::new(open(uri)?.planning(muted.clone()))));
    let context = Arc::new(Context::new(engine, images, settings.jobs, control, OnFailure::default()));
    match State::new(&context, connect, settings.modules(Some(program.script)))?.execute(program) {
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
        Modules {
            directories: vec![beside.unwrap_or(Path::new(".")).to_path_buf(), self.stdlib.to_path_buf()],
            script: script.map(|script| script.file.to_path_buf()),
        }
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

    fn execute(self, program: &Program) -> Result<()> {
        let Script { file, arguments } = program.script;
        self.context.control.loaded(&program.text);
        let context = Arc::clone(&self.context);
        let interrupt = context.engine.interrupt.clone();
        let name = format!("@{}", file.display());
        let lua = &self.lua;
        let result = self.runtime.block_on(async {
            set_arguments(lua, file, arguments).map_err(|error| from_lua(&error))?;
            let main = lua
                .load(&program.text)
                .set_name(name)
                .set_mode(ChunkMode::Text)
                .into_function()
                .map_err(|error| from_lua(&error))?;
            let arguments = strings(lua, arguments).map_err(|error| from_lua(&error))?;
            let running = Call::new(lua, main, MultiValue::from_iter(arguments))?.end::<()>();
            tokio::select! {
                biased;
                () = context.prompts.interrupted(&interrupt) => Err(Error::interrupted()),
                () = context.exited() => {
                    interrupt.raise();
                    Ok(())
                }
                ended = running => ended,
            }
        });
        if context.exit_code().is_some() {
            // What is under way ends as after an interrupt.
            interrupt.raise();
        }
        drop_abandoned(lua);
        if context.exit_code().is_some() {
            drop(self);
            interrupt.lower();
            return Ok(());
        }
        interrupt.check()?;
        result
    }
}

/// Drops what coroutines hold that were given up: builders and forks, which would outlive the process. Of those in each
/// other, each collection finds the next one.
fn drop_abandoned(lua: &Lua) {
    const DEEPEST: usize = 8;
    for _ in 0..DEEPEST {
        // A finalizer that fails has nobody to tell.
        let _ = lua.gc_collect();
    }
}

async fn interrupted(interrupt: &Interrupt) {
    const TICK: Duration = Duration::from_millis(50);
    while !interrupt.is_raised() {
        tokio::time::sleep(TICK).await;
    }
}

fn strings(lua: &Lua, arguments: &[OsString]) -> mlua::Result<Vec<Value>> {
    arguments.iter().map(|argument| lua.create_string(argument.as_bytes()).map(Value::String)).collect()
}

fn set_arguments(lua: &Lua, script: &Path, arguments: &[OsString]) -> mlua::Result<()> {
    let table = lua.create_sequence_from(strings(lua, arguments)?)?;
    table.set(0, lua.create_string(script.as_os_str().as_bytes())?)?;
    lua.globals().set("arg", table)
}

/// Makes a Lua state with the API in it.
fn state(context: &Arc<Context>, connections: Arc<Connections>, modules: Modules) -> mlua::Result<Lua> {
    let lua = Lua::new();
    if let Some(free) = memory_of_host() {
        // A script without an end is to fail, and not the guests beside it.
        lua.set_memory_limit(usize::try_from(free / 2).unwrap_or(usize::MAX))?;
    }
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
    globals.set("debug", lua.create_table_from([("traceback", lua.create_function(raised::traceback)?)])?)?;
    globals.get::<mlua::Table>("os")?.set("exit", lua.create_async_function(exit)?)?;
    options::install(&lua)?;
    let prelude = lua.load(include_str!("runtime/prelude.lua")).set_name(format!("@{}/prelude.lua", error::STDLIB));
    let traceback = lua.create_function(|lua, ()| lua.traceback(None, 0))?;
    let is_pending = lua.create_function(is_pending)?;
    let caught = lua.create_function(raised::caught)?;
    let (print, abandon) = (lua.create_function(print)?, lua.create_function(abandon)?);
    let (guard, resumed_by) = prelude.call((is_pending, caught, traceback, print, abandon))?;
    raised::install(&lua, guard)?;
    require::install(&lua, modules, resumed_by)?;
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

fn print(lua: &Lua, line: mlua::LuaString) -> mlua::Result<()> {
    Context::of(lua)?.engine.events.emit(Event::Printed(line.to_string_lossy()));
    Ok(())
}

/// Makes what closes a coroutine in which somebody waited; it is no Lua, which an interrupt would stop.
fn abandon(lua: &Lua, close: Function) -> mlua::Result<Function> {
    lua.create_function(move |_, waiting: Table| match waiting.raw_get::<Option<Thread>>("thread")? {
        Some(thread) => close.call::<()>(thread),
        None => Ok(()),
    })
}

/// `os.exit(code)`: ends the script, and what it has begun, without a word.
async fn exit(lua: Lua, code: Value) -> mlua::Result<()> {
    let code = match &code {
        Value::Nil | Value::Boolean(true) => Some(0),
        Value::Boolean(false) => Some(1),
        code => lua.coerce_integer(code.clone())?.map(|code| code as i32),
    };
    let code = code.ok_or_else(|| Error::failed("os.exit: the code must be true, false or a whole number"))?;
    Context::of(&lua)?.exit.send_replace(Some(code));
    std::future::pending().await
}
