//! What somebody at a prompt works with: the names that he gave, and the working fork in which his lines act.

use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures_util::FutureExt;
use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, MultiValue, Table, Value};

use crate::error::{Because, Error, Kind, Result};
use crate::lua::api::connection::Connections;
use crate::lua::api::require::Modules;
use crate::lua::prompt::dot;
use crate::lua::runtime::ask::Answer;
use crate::lua::runtime::context::Context;
use crate::lua::runtime::raised::Call;
use crate::lua::value::error::from_lua;
use crate::lua::value::show;
use crate::lua::value::source::{self, read_script};
use crate::lua::value::tokens::{has_open_quote, without_locals};
use crate::lua::{drop_abandoned, interrupt_loops, interrupted};
use crate::name::MachineName;
use crate::tree::Work;

/// What chunks that were typed are called; errors of a line need not say that it was that line.
const CHUNK: &str = "prompt";

pub struct Desk {
    pub lua: Lua,
    pub connections: Arc<Connections>,
    /// What was named at the prompt, and by the script before it.
    pub names: Table,
    /// The script given at the start, with its arguments.
    pub script: Option<(PathBuf, Vec<OsString>)>,
    at: Mutex<Option<At>>,
    /// Whether the step that failed is to be run again.
    is_retried: Mutex<Option<bool>>,
    /// The modules that were there before any line.
    modules: Vec<Value>,
}

/// A working fork, and the connection that it is on.
#[derive(Clone)]
pub struct At {
    pub context: Arc<Context>,
    pub work: Arc<Work>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    pub fn new(
        lua: &Lua,
        connections: Arc<Connections>,
        script: Option<(PathBuf, Vec<OsString>)>,
    ) -> mlua::Result<Rc<Self>> {
        let names = lua.create_table()?;
        let meta = lua.create_table()?;
        meta.set("__index", lua.globals())?;
        names.set_metatable(Some(meta))?;
        let loaded: Table = lua.globals().get::<Table>("package")?.get("loaded")?;
        let modules = loaded.pairs::<Value, Value>().flatten().map(|(name, _)| name).collect();
        let desk = Rc::new(Self {
            lua: lua.clone(),
            connections,
            names,
            script,
            at: Mutex::default(),
            is_retried: Mutex::default(),
            modules,
        });
        crate::lua::prompt::words::install(&desk)?;
        Ok(desk)
    }

    /// Returns the connection that the prompt was started with.
    pub fn context(&self) -> &Arc<Context> {
        self.connections.first()
    }

    pub fn at(&self) -> Option<At> {
        locked(&self.at).clone()
    }

    /// Returns the working fork that there has to be.
    pub fn here(&self) -> Result<At> {
        self.at().ok_or_else(|| {
            Error::failed("no machine is in use").hint("use(\"MACHINE/SNAPSHOT\") makes a working fork of a snapshot")
        })
    }

    /// Works on in another fork; the one before goes, beside what else is done.
    pub fn work_in(&self, at: Option<At>) {
        let before = std::mem::replace(&mut *locked(&self.at), at);
        if let Some(At { context, work }) = before {
            context.endings.end(work);
        }
    }

    /// Ends the working fork and waits for that.
    pub async fn leave(&self) {
        let at = locked(&self.at).take();
        let _ = tokio::task::spawn_blocking(move || drop(at)).await;
    }

    /// Lets a step that failed be run again once the prompt is left.
    pub fn allow_retry(&self) {
        *locked(&self.is_retried) = Some(false);
    }

    pub fn retry(&self) -> Result<()> {
        match &mut *locked(&self.is_retried) {
            Some(is_retried) => *is_retried = true,
            None => {
                return Err(Error::failed("there is no step to run again")
                    .hint("retry() is for the prompt of `snaptree run --on-error repl`"));
            }
        }
        Ok(())
    }

    pub fn is_retried(&self) -> bool {
        *locked(&self.is_retried) == Some(true)
    }

    /// Says where one is.
    pub fn place(&self) -> String {
        self.at().map_or_else(|| "snaptree".to_string(), |at| at.work.place())
    }

    /// Carries out what was typed: a command with a dot before it, an expression, or statements. An interrupt ends it,
    /// and nothing else.
    pub async fn line(&self, line: &str) -> Result<Answer> {
        let line = line.trim_start_matches(source::UTF8_MARK);
        let interrupt = self.context().engine.interrupt.clone();
        interrupt.lower();
        let done = match self.prepare().await {
            Err(error) => Err(error),
            Ok(()) => {
                let carried_out = std::panic::AssertUnwindSafe(dot::carry_out(self, line)).catch_unwind();
                tokio::select! {
                    biased;
                    () = interrupted(&interrupt) => Err(Error::interrupted()),
                    () = self.context().exited() => Ok(Answer { text: None, leaves: true }),
                    done = carried_out => done.unwrap_or_else(|_| Err(Error::bug("the line broke something"))),
                }
            }
        };
        if self.context().exit_code().is_some() {
            // What is under way ends as after an interrupt.
            interrupt.raise();
        }
        if interrupt.is_raised() {
            drop_abandoned(&self.lua);
        }
        self.rest();
        interrupt.lower();
        done.map_err(|error| said(error, line))
    }

    /// Lets others have their turn until the next line; a script that waits for its prompt keeps what it has claimed, and
    /// so does what an interrupted line has not ended yet.
    fn rest(&self) {
        for context in self.connections.all() {
            if self.is_alone() && context.is_idle() {
                context.engine.pause();
            }
        }
    }

    /// Says whether no script waits for this prompt.
    fn is_alone(&self) -> bool {
        locked(&self.is_retried).is_none()
    }

    /// Makes ready for a line: what was declared before it can be declared again, and a lost connection is opened anew.
    async fn prepare(&self) -> Result<()> {
        for context in self.connections.all() {
            if self.is_alone() {
                context.forget_places();
            }
            context.blocking(|engine| engine.hypervisor.revive()).await?;
        }
        interrupt_loops(&self.lua, self.context().engine.interrupt.clone()).map_err(|error| from_lua(&error))?;
        if let Some(At { context, work }) = self.at() {
            // A fork that is gone has no room, which is for the line to find out: it may be the one that leaves it.
            let _ = context.blocking(move |engine| engine.make_room_to_go_back(&work)).await;
        }
        Ok(())
    }

    /// Evaluates Lua; returns the text of its results.
    pub async fn evaluate(&self, source: &str) -> Result<Option<String>> {
        let values = self.call(self.compiled(source)?, MultiValue::new()).await?;
        let Some(first) = values.front().filter(|first| values.len() > 1 || !first.is_nil()) else { return Ok(None) };
        self.names.raw_set("_", first).map_err(|error| from_lua(&error))?;
        if values.len() == 1 && crate::lua::prompt::words::has_streamed(&self.lua, first) {
            return Ok(crate::lua::prompt::words::status_of(first));
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

    /// Runs a file of Lua; what is local to the whole of it is known at the prompt.
    pub async fn load(&self, file: &std::path::Path, arguments: &[OsString]) -> Result<()> {
        let source = read_script(file)?;
        // What is no UTF-8 is Lua all the same: each byte is a letter here.
        let letters: String = source.into_iter().map(char::from).collect();
        let source: Vec<u8> = without_locals(&letters).chars().filter_map(|letter| u8::try_from(letter).ok()).collect();
        let chunk = self.lua.load(source).set_name(format!("@{}", file.display())).set_mode(ChunkMode::Text);
        let chunk = chunk.set_environment(self.names.clone()).into_function().map_err(|error| from_lua(&error))?;
        let arguments = crate::lua::strings(&self.lua, arguments).map_err(|error| from_lua(&error))?;
        self.call(chunk, MultiValue::from_iter(arguments)).await.map(|_| ())
    }

    /// Runs the script that was given at the start, with its modules as they are now.
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

    /// Returns what a name stands for, without running anything.
    pub fn value(&self, name: &str) -> Option<Value> {
        let named: Value = self.names.raw_get(name).ok()?;
        if named.is_nil() { self.lua.globals().raw_get(name).ok() } else { Some(named) }
    }

    /// Returns where modules are looked for.
    pub fn modules_in(&self) -> Modules {
        let modules = self.lua.app_data_ref::<Modules>().map(|modules| modules.clone());
        modules.unwrap_or_default()
    }

    /// Lists the names of machines.
    pub fn machines(&self) -> Vec<String> {
        let names = self.context().engine.names_of_machines().unwrap_or_default();
        names.into_iter().map(|name| name.to_string()).collect()
    }

    /// Lists what a text that names a machine or a snapshot can go on to be.
    pub fn places(&self, begun: &str) -> Vec<String> {
        let machine = begun.split_once('/').and_then(|(machine, _)| MachineName::existing(machine).ok());
        let Some(machine) = machine else {
            return self.machines().into_iter().flat_map(|name| [format!("{name}/"), name]).collect();
        };
        let names = self.context().engine.hypervisor.snapshot_names(machine.as_str()).unwrap_or_default();
        names.into_iter().map(|name| format!("{machine}/{name}")).collect()
    }

    /// Lists the names of all snapshots of all machines.
    pub fn snapshots_of_all(&self) -> Vec<String> {
        let hypervisor = &self.context().engine.hypervisor;
        let names = |machine: String| hypervisor.snapshot_names(&machine).unwrap_or_default();
        self.machines().into_iter().flat_map(names).collect()
    }

    /// Carries out a line and says how long it took.
    pub async fn timed(&self, line: &str) -> Result<Answer> {
        let started = Instant::now();
        let answer = Box::pin(dot::carry_out(self, line)).await?;
        let took = format!("took {:.3} s", started.elapsed().as_secs_f64());
        let text = answer.text.map_or_else(|| took.clone(), |text| format!("{text}\n{took}"));
        Ok(Answer { text: Some(text), ..answer })
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.work_in(None);
    }
}

/// Leaves out of an error where it happened, if that can only be the line that was just typed.
fn said(mut error: Error, line: &str) -> Error {
    let is_here = |place: &String| place.strip_prefix(CHUNK).is_some_and(|rest| rest.starts_with(':'));
    if !line.trim_end().contains('\n') {
        error.location = error.location.filter(|place| !is_here(place));
    }
    error.traceback.retain(|place| !is_here(place));
    error
}

/// Says whether a text is a whole line, or needs more. What is wrong is whole: more of it makes it no better.
pub fn is_whole(text: &str) -> bool {
    // A string in quotes ends with its line, closed or not.
    if dot::is_command(text) || has_open_quote(text) {
        return true;
    }
    let lua = Lua::new();
    let compiled = [format!("return {text}"), text.to_string()].map(|source| lua.load(source).into_function());
    let wants_more = |error: &mlua::Error| matches!(error, mlua::Error::SyntaxError { incomplete_input: true, .. });
    compiled.iter().any(Result::is_ok) || !compiled.iter().flat_map(|compiled| compiled.as_ref().err()).any(wants_more)
}

/// Reads a file that holds Lua.
pub fn readable(path: &str) -> Result<PathBuf> {
    let path = PathBuf::from(path);
    std::fs::metadata(&path)
        .because(|| format!("cannot read `{}`", path.display()))
        .map_err(|error| Error { kind: Kind::Usage, ..error })?;
    Ok(path)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::lua::tests::state;

    /// Makes a desk on a fake hypervisor.
    fn desk() -> Rc<Desk> {
        let lua = state();
        let connections = lua.app_data_ref::<Arc<Connections>>().map(|connections| Arc::clone(&connections)).unwrap();
        Desk::new(&lua, connections, None).unwrap()
    }

    #[test]
    fn a_module_whose_load_was_interrupted_is_loaded_again() {
        let desk = desk();
        let interrupt = desk.context().engine.interrupt.clone();
        let stop = move |_: &Lua, ()| {
            interrupt.raise();
            Ok(())
        };
        let stop = desk.lua.create_function(stop).unwrap();
        let wait = desk.lua.create_async_function(|_, ()| std::future::pending::<mlua::Result<()>>()).unwrap();
        desk.names.set("stop", stop).unwrap();
        desk.names.set("wait", wait).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let line = |line: &str| runtime.block_on(desk.line(line));
        for (n, endless) in ["while true do end", "wait()"].into_iter().enumerate() {
            line(&format!(
                "LOADS = 0; package.preload.m{n} = function() LOADS = LOADS + 1
                   if LOADS == 1 then stop() {endless} end
                   return LOADS
                 end"
            ))
            .unwrap();
            let error = line(&format!("coroutine.wrap(require)('m{n}')")).unwrap_err();
            assert_eq!(error.kind, Kind::Interrupted, "{endless}");
            let loaded = line(&format!("(require 'm{n}')")).unwrap();
            assert_eq!(loaded.text.as_deref(), Some("2"), "{endless}");
        }
    }

    #[test]
    fn a_line_that_breaks_something_is_an_error_and_the_next_one_is_carried_out() {
        let desk = desk();
        let breaks = desk.lua.create_function(|_, ()| -> mlua::Result<()> { panic!("the test's own") }).unwrap();
        desk.names.set("breaks", breaks).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let line = |line: &str| runtime.block_on(desk.line(line));
        for broken in ["breaks()", "pcall(breaks)"] {
            let error = line(broken).unwrap_err();
            assert_eq!((error.kind, error.message.as_str()), (Kind::Bug, "the line broke something"), "{broken}");
            assert_eq!(line("1 + 1").unwrap().text.as_deref(), Some("2"));
        }
    }

    #[test]
    fn what_is_not_whole_waits_for_more() {
        for (text, whole) in [
            ("", true),
            ("1 + 1", true),
            ("x = 1", true),
            ("function f()", false),
            ("function f() end", true),
            ("f {", false),
            ("f {\n}", true),
            ("x = [[a", false),
            ("x = \"a", true),
            ("end", true),
            (".tree", true),
            ("1 +", false),
        ] {
            assert_eq!(is_whole(text), whole, "{text}");
        }
    }
}
