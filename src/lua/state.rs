//! Lua states: the settings of a run, the state that a script runs in, and how it is run to its end.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use mlua::chunk::ChunkMode;
use mlua::{Lua, MultiValue, Value};

use crate::error::{Because, Error, Result};
use crate::image::ImageCache;
use crate::lua::api::globals;
use crate::lua::api::require::Modules;
use crate::lua::runtime::ask::Door;
use crate::lua::runtime::budget::memory_of_host;
use crate::lua::runtime::connections::{Connections, Connector};
use crate::lua::runtime::context::{AfterFailure, Context, OnFailure};
use crate::lua::runtime::control::{Control, Orders};
use crate::lua::runtime::interrupt::{drop_abandoned, interrupt_loops};
use crate::lua::runtime::raised::Call;
use crate::lua::value::error::from_lua;
use crate::lua::value::source::read_script;
use crate::tree::Engine;

/// The settings of a run.
pub struct Settings<'a> {
    pub engine: Arc<Engine>,
    pub connect: Connector,
    /// Where images are cached.
    pub cache: &'a Path,
    /// The maximum number of builders at the same time.
    pub jobs: usize,
    /// Whether a failed step is kept, if its branch does not say.
    pub keep_failed: bool,
    /// Opens a prompt on a failed step, if one is wanted.
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

/// A script that was already read, because a pipe can be read only once.
pub struct Program<'a> {
    pub script: Script<'a>,
    pub text: Vec<u8>,
}

impl<'a> Script<'a> {
    pub fn read(self) -> Result<Program<'a>> {
        Ok(Program { script: self, text: read_script(self.file)? })
    }
}

impl Settings<'_> {
    /// Makes the context of a run; `then` lets the user inspect a failed step.
    pub fn context(&self, control: Control, then: Option<AfterFailure>) -> Result<Arc<Context>> {
        let images = Arc::new(ImageCache::open(self.cache));
        let on_failure = OnFailure { keep: self.keep_failed, then };
        let engine = Arc::clone(&self.engine);
        Ok(Arc::new(Context::new(engine, images, self.jobs, Arc::new(control), on_failure)))
    }

    /// Says where `require` looks for modules.
    pub fn modules(&self, script: Option<Script>) -> Modules {
        let beside = script.and_then(|script| script.file.parent()).filter(|parent| !parent.as_os_str().is_empty());
        Modules {
            directories: vec![beside.unwrap_or(Path::new(".")).to_path_buf(), self.stdlib.to_path_buf()],
            script: script.map(|script| script.file.to_path_buf()),
        }
    }
}

/// A Lua state, and the runtime that lets it wait.
pub struct State {
    // Dropping it waits for running calls, so it is dropped before what those use.
    pub runtime: tokio::runtime::Runtime,
    pub lua: Lua,
    context: Arc<Context>,
    pub connections: Arc<Connections>,
}

impl State {
    pub fn new(context: &Arc<Context>, connect: Connector, modules: Modules) -> Result<Self> {
        let connections = Arc::new(Connections::new(Arc::clone(context), connect));
        let lua = state(context, Arc::clone(&connections), modules).map_err(|error| from_lua(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .because(|| "cannot start the runtime".to_string())?;
        Ok(Self { runtime, lua, context: Arc::clone(context), connections })
    }

    /// Runs a script to its end.
    pub fn execute(self, program: &Program) -> Result<()> {
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
            // Running calls end as after an interrupt.
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

/// Makes Lua strings of a script's arguments.
pub fn strings(lua: &Lua, arguments: &[OsString]) -> mlua::Result<Vec<Value>> {
    arguments.iter().map(|argument| lua.create_string(argument.as_bytes()).map(Value::String)).collect()
}

fn set_arguments(lua: &Lua, script: &Path, arguments: &[OsString]) -> mlua::Result<()> {
    let table = lua.create_sequence_from(strings(lua, arguments)?)?;
    table.set(0, lua.create_string(script.as_os_str().as_bytes())?)?;
    lua.globals().set("arg", table)
}

/// Makes a Lua state with the API in it.
pub fn state(context: &Arc<Context>, connections: Arc<Connections>, modules: Modules) -> mlua::Result<Lua> {
    let lua = Lua::new();
    if let Some(free) = memory_of_host() {
        // A script that allocates without end should fail itself, not the guests beside it.
        lua.set_memory_limit(usize::try_from(free / 2).unwrap_or(usize::MAX))?;
    }
    lua.set_app_data(Arc::clone(context));
    lua.set_app_data(Arc::clone(&connections));
    lua.set_app_data(modules.clone());
    globals::install(&lua, connections, modules)?;
    interrupt_loops(&lua, context.engine.interrupt.clone())?;
    Ok(lua)
}
