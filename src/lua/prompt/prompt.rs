//! The state of a prompt: the user's variables, and the working fork that typed lines act on.

use parking_lot::Mutex;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, MultiValue, Table, Value};

use crate::error::{Error, Result};
use crate::lua::api::require::Modules;
use crate::lua::prompt::result::{has_streamed, status_of};
use crate::lua::runtime::connections::Connections;
use crate::lua::runtime::context::Context;
use crate::lua::runtime::raised::Call;
use crate::lua::state::strings;
use crate::lua::value::error::from_lua;
use crate::lua::value::show;
use crate::lua::value::source::read_script;
use crate::lua::value::tokens::without_locals;
use crate::name::MachineName;
use crate::tree::WorkingFork;

/// The chunk name of typed lines; errors of a line need not say that it was that line.
pub const CHUNK: &str = "prompt";

pub struct Prompt {
    pub lua: Lua,
    pub connections: Arc<Connections>,
    /// Variables set at the prompt, and by the script before it.
    pub names: Table,
    /// The script of the command line, with its arguments.
    pub script: Option<(PathBuf, Vec<OsString>)>,
    at: Mutex<Option<At>>,
    /// Whether the failed step is to be run again; `None` if there is none.
    is_retried: Mutex<Option<bool>>,
    /// The modules that were loaded before the first line.
    modules: Vec<Value>,
}

/// A working fork and its connection.
#[derive(Clone)]
pub struct At {
    pub context: Arc<Context>,
    pub work: Arc<WorkingFork>,
}

impl Prompt {
    pub fn new(
        lua: &Lua,
        connections: Arc<Connections>,
        script: Option<(PathBuf, Vec<OsString>)>,
    ) -> mlua::Result<Self> {
        let names = lua.create_table()?;
        let meta = lua.create_table()?;
        meta.set("__index", lua.globals())?;
        names.set_metatable(Some(meta))?;
        let loaded: Table = lua.globals().get::<Table>("package")?.get("loaded")?;
        let modules = loaded.pairs::<Value, Value>().flatten().map(|(name, _)| name).collect();
        Ok(Self {
            lua: lua.clone(),
            connections,
            names,
            script,
            at: Mutex::default(),
            is_retried: Mutex::default(),
            modules,
        })
    }

    /// Returns the connection that the prompt was started with.
    pub fn context(&self) -> &Arc<Context> {
        self.connections.first()
    }

    pub fn at(&self) -> Option<At> {
        self.at.lock().clone()
    }

    /// Returns the working fork; fails if there is none.
    pub fn here(&self) -> Result<At> {
        self.at().ok_or_else(|| {
            Error::failed("no machine is in use").hint("use(\"MACHINE/SNAPSHOT\") makes a working fork of a snapshot")
        })
    }

    /// Switches to another fork; the previous one ends in the background.
    pub fn work_in(&self, at: Option<At>) {
        let before = std::mem::replace(&mut *self.at.lock(), at);
        if let Some(At { context, work }) = before {
            context.endings.end(work);
        }
    }

    /// Ends the working fork and waits until it has ended.
    pub async fn leave(&self) {
        let at = self.at.lock().take();
        let _ = tokio::task::spawn_blocking(move || drop(at)).await;
    }

    /// Lets the failed step be run again when the user leaves the prompt.
    pub fn allow_retry(&self) {
        *self.is_retried.lock() = Some(false);
    }

    pub fn retry(&self) -> Result<()> {
        match &mut *self.is_retried.lock() {
            Some(is_retried) => *is_retried = true,
            None => {
                return Err(Error::failed("there is no step to run again")
                    .hint("retry() is for the prompt of `snaptree run --on-error repl`"));
            }
        }
        Ok(())
    }

    pub fn is_retried(&self) -> bool {
        *self.is_retried.lock() == Some(true)
    }

    /// Names the current place, for the prompt.
    pub fn place(&self) -> String {
        self.at().map_or_else(|| "snaptree".to_string(), |at| at.work.place())
    }

    /// Says whether this prompt is on its own, with no script waiting for it.
    pub fn is_alone(&self) -> bool {
        self.is_retried.lock().is_none()
    }

    /// Evaluates Lua; returns the text of its results.
    pub async fn evaluate(&self, source: &str) -> Result<Option<String>> {
        let values = self.call(self.compiled(source)?, MultiValue::new()).await?;
        let Some(first) = values.front().filter(|first| values.len() > 1 || !first.is_nil()) else { return Ok(None) };
        self.names.raw_set("_", first).map_err(|error| from_lua(&error))?;
        if values.len() == 1 && has_streamed(&self.lua, first) {
            return Ok(status_of(first));
        }
        let texts: Vec<String> = values.iter().map(|value| show::shown(&self.lua, value)).collect();
        Ok(Some(texts.join("\t")))
    }

    fn compiled(&self, source: &str) -> Result<Function> {
        let source = without_locals(source);
        let load = |source: String| {
            let chunk = self.lua.load(source).set_name(format!("={CHUNK}")).set_mode(ChunkMode::Text);
            chunk.set_environment(self.names.clone())
        };
        load(format!("return {source}")).into_function().or_else(|as_expression| {
            let is_unfinished = matches!(as_expression, mlua::Error::SyntaxError { incomplete_input: true, .. });
            load(source).into_function().map_err(|error| from_lua(if is_unfinished { &as_expression } else { &error }))
        })
    }

    async fn call(&self, function: Function, arguments: MultiValue) -> Result<MultiValue> {
        Call::new(&self.lua, function, arguments)?.end().await
    }

    /// Runs a Lua file; its top-level locals become variables of the prompt.
    pub async fn load(&self, file: &std::path::Path, arguments: &[OsString]) -> Result<()> {
        let source = read_script(file)?;
        // Lua need not be UTF-8, so each byte is a character here.
        let letters: String = source.into_iter().map(char::from).collect();
        let source: Vec<u8> = without_locals(&letters).chars().filter_map(|letter| u8::try_from(letter).ok()).collect();
        let chunk = self.lua.load(source).set_name(format!("@{}", file.display())).set_mode(ChunkMode::Text);
        let chunk = chunk.set_environment(self.names.clone()).into_function().map_err(|error| from_lua(&error))?;
        let arguments = strings(&self.lua, arguments).map_err(|error| from_lua(&error))?;
        self.call(chunk, MultiValue::from_iter(arguments)).await.map(|_| ())
    }

    /// Runs the script of the command line again, with its modules as they are now.
    pub async fn reload(&self) -> Result<()> {
        let Some((script, arguments)) = &self.script else {
            return Err(Error::usage("there is no script to load again").hint("`snaptree repl SCRIPT` starts with one"));
        };
        self.forget_modules().map_err(|error| from_lua(&error))?;
        self.load(script, arguments).await
    }

    fn forget_modules(&self) -> mlua::Result<()> {
        let loaded: Table = self.lua.globals().get::<Table>("package")?.get("loaded")?;
        let names: Vec<Value> = loaded.pairs::<Value, Value>().flatten().map(|(name, _)| name).collect();
        names.iter().filter(|name| !self.modules.contains(name)).try_for_each(|name| loaded.raw_remove(name))
    }

    /// Returns the value of a name, without running anything.
    pub fn value(&self, name: &str) -> Option<Value> {
        let named: Value = self.names.raw_get(name).ok()?;
        if named.is_nil() { self.lua.globals().raw_get(name).ok() } else { Some(named) }
    }

    /// Returns where `require` looks for modules.
    pub fn modules_in(&self) -> Modules {
        let modules = self.lua.app_data_ref::<Modules>().map(|modules| modules.clone());
        modules.unwrap_or_default()
    }

    /// Lists the names of machines.
    pub fn machines(&self) -> Vec<String> {
        let names = self.context().engine.names_of_machines().unwrap_or_default();
        names.into_iter().map(|name| name.to_string()).collect()
    }

    /// Lists the machines and snapshots that can complete a text.
    pub fn places(&self, begun: &str) -> Vec<String> {
        let machine = begun.split_once('/').and_then(|(machine, _)| MachineName::existing(machine).ok());
        let Some(machine) = machine else {
            return self.machines().into_iter().flat_map(|name| [format!("{name}/"), name]).collect();
        };
        let names = self.context().engine.snapshot_names(machine.as_str()).unwrap_or_default();
        names.into_iter().map(|name| format!("{machine}/{name}")).collect()
    }

    /// Lists the names of all snapshots of all machines.
    pub fn snapshots_of_all(&self) -> Vec<String> {
        let engine = &self.context().engine;
        let names = |machine: String| engine.snapshot_names(&machine).unwrap_or_default();
        self.machines().into_iter().flat_map(names).collect()
    }
}

impl Drop for Prompt {
    fn drop(&mut self) {
        self.work_in(None);
    }
}
