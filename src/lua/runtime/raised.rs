//! Runs a script's functions: the one place where a raised value becomes an error of ours, and becomes the value again.
//!
//! Every function of a script is run by the prelude's `guard`, which returns a raised value in a table, with the place
//! where it was raised. The table travels with the error, even through other threads, so that a script that catches the
//! error gets the very same value.

use std::sync::Arc;

use mlua::thread::AsyncThread;
use mlua::{FromLuaMulti, Function, IntoLuaMulti, Lua, MultiValue, Table, Thread, Value, WeakLua};

use crate::error::{Error, Raised, Result};
use crate::lua::value::error::{from_lua, located, said};
use crate::lua::value::failure::Failure;
use crate::lua::value::show::brief;

/// The registry key of the prelude's `guard`.
const GUARD: &str = "snaptree.guard";

/// A function of the script that runs in a coroutine of its own, and is closed when this is dropped.
pub struct Call {
    lua: WeakLua,
    guard: Function,
    thread: Thread,
    running: AsyncThread<MultiValue>,
}

pub fn install(lua: &Lua, guard: Function) -> mlua::Result<()> {
    lua.set_named_registry_value(GUARD, guard)
}

impl Call {
    pub fn new(lua: &Lua, function: Function, arguments: impl IntoLuaMulti) -> Result<Self> {
        Self::begin(lua, function, arguments).map_err(|error| from_lua(&error))
    }

    fn begin(lua: &Lua, function: Function, arguments: impl IntoLuaMulti) -> mlua::Result<Self> {
        let guard: Function = lua.named_registry_value(GUARD)?;
        let thread = lua.create_thread(guard.clone())?;
        let mut arguments = arguments.into_lua_multi(lua)?;
        arguments.push_front(Value::Function(function));
        arguments.push_front(Value::Thread(lua.current_thread()));
        let running = thread.clone().into_async(arguments)?;
        Ok(Self { lua: lua.weak(), guard, thread, running })
    }

    pub fn thread(&self) -> &Thread {
        &self.thread
    }

    /// Runs it to its end.
    pub async fn end<R: FromLuaMulti>(mut self) -> Result<R> {
        let ended = (&mut self.running).await;
        let Some(lua) = self.lua.try_upgrade() else { return Err(Error::interrupted()) };
        let mut values = ended.map_err(|error| from_lua(&error))?;
        match (values.pop_front(), values.front()) {
            (Some(Value::Boolean(false)), Some(Value::Table(raised))) => Err(from_raised(&lua, raised)),
            _ => R::from_lua_multi(values, &lua).map_err(|error| from_lua(&error)),
        }
    }
}

impl Drop for Call {
    /// Closes what the coroutine left open, if it is abandoned before its end.
    fn drop(&mut self) {
        if self.lua.try_upgrade().is_some() && self.thread.is_resumable() {
            // Nothing could catch an error that this raises.
            let _ = self.thread.reset(self.guard.clone());
        }
    }
}

/// Makes an error from a value that a script raised.
fn from_raised(lua: &Lua, raised: &Table) -> Error {
    let traceback = raised.raw_get::<mlua::LuaString>("traceback").map(|text| text.to_string_lossy());
    let value = raised.raw_get::<Value>("value").unwrap_or(Value::Nil);
    let mut error = match &value {
        // An error of ours that the script has not caught.
        Value::Error(error) => return located(from_lua(error), &traceback.unwrap_or_default()),
        value => described(lua, value),
    };
    error.raised = lua.create_registry_value(raised).ok().map(|key| Raised::Value(Arc::new(key)));
    located(error, &traceback.unwrap_or_default())
}

/// Describes a raised value.
fn described(lua: &Lua, value: &Value) -> Error {
    let meta = match value {
        Value::String(text) => return said(&text.to_string_lossy()),
        Value::UserData(data) => match data.borrow::<Failure>() {
            Ok(failure) => return failure.0.clone(),
            Err(_) => None,
        },
        Value::Table(table) => table.metatable(),
        _ => None,
    };
    let told = |what: &str| Error::failed(format!("the script raised {what}"));
    let Some(meta) = meta else {
        return match value {
            Value::Nil => told("nil").hint("error(\"why\") says what failed"),
            Value::Table(_) => told(&format!("a table: {}", brief(lua, value))),
            Value::Function(_) => told("a function"),
            Value::Thread(_) => told("a coroutine"),
            value => told(&brief(lua, value)),
        };
    };
    let fields = || match meta.raw_get::<mlua::LuaString>("__name") {
        Ok(name) => told(&format!("a table, `{}`: {}", name.to_string_lossy(), brief(lua, value))),
        Err(_) => told(&format!("a table: {}", brief(lua, value))),
    };
    match meta.raw_get::<Value>("__tostring") {
        Ok(Value::Nil) | Err(_) => fields(),
        Ok(_) => match text_of(lua, value) {
            Ok(text) => said(&text),
            Err(cause) => fields().cause(format!("its `__tostring` failed: {}", from_lua(&cause).message)),
        },
    }
}

fn text_of(lua: &Lua, value: &Value) -> mlua::Result<String> {
    let tostring: Function = lua.globals().get("tostring")?;
    Ok(tostring.call::<mlua::LuaString>(value)?.to_string_lossy())
}

/// `debug.traceback([message [, level]])`: the script's stack of calls. It does not include calls in
/// coroutines other than the running one.
pub fn traceback(lua: &Lua, mut arguments: MultiValue) -> mlua::Result<Value> {
    let other = match arguments.front() {
        Some(Value::Thread(_)) => arguments.pop_front().filter(|thread| *thread != Value::Thread(lua.current_thread())),
        _ => None,
    };
    let message = match arguments.pop_front().unwrap_or(Value::Nil) {
        Value::Nil => None,
        message => match lua.coerce_string(message.clone())? {
            Some(message) => Some(message),
            None => return Ok(message),
        },
    };
    let level = arguments.pop_front().and_then(|level| level.as_usize()).unwrap_or(1);
    let traceback = lua.traceback(None, level)?.to_string_lossy();
    let is_ours = |line: &&str| line.contains("[stdlib]/prelude.lua") || line.contains("__mlua");
    let lines = traceback.lines().filter(|line| !is_ours(line));
    let lines: Vec<&str> = lines.take(if other.is_some() { 1 } else { usize::MAX }).collect();
    let message = message.map_or_else(Vec::new, |message| [&message.as_bytes()[..], b"\n"].concat());
    Ok(Value::String(lua.create_string([message, lines.join("\n").into_bytes()].concat())?))
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;
    use crate::lua::value::failure::value_of;

    /// Runs Lua in a state with the API of scripts.
    fn run(lua: &Lua, source: &str) -> Result<MultiValue> {
        let function = lua.load(source).set_name("@script.lua").into_function().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { Call::new(lua, function, ())?.end().await })
    }

    #[test]
    fn what_was_raised_comes_back_through_another_thread() {
        let lua = crate::lua::tests::state();
        let error = run(&lua, "VALUE = {} error(VALUE)").unwrap_err();
        let error = std::thread::spawn(move || error).join().unwrap();
        assert_eq!(error.to_string(), "script.lua:1: the script raised a table: {}");
        assert_eq!(value_of(&lua, error).unwrap(), lua.globals().get::<Value>("VALUE").unwrap());
    }

    #[test]
    fn a_pcall_of_what_places_its_error_gives_what_lua_gives() {
        for source in [
            "return pcall(error, 'x')",
            "return pcall(error, 'x', 1)",
            "local _, why = pcall(error, 'x', 2)\nreturn why",
            "local function f() local _, why = pcall(error, 'x\\ny', 2) return why end\nreturn f()",
            "local ok, inner, why = pcall(pcall, error, 'x', 2)\nreturn ok, inner, why",
            "return pcall(pcall)",
            "return pcall(string.rep)",
            "return select('#', pcall(function() end)), pcall(function() end)",
            "return select('#', pcall(function() return nil, nil end))",
            "return select('#', coroutine.wrap(function() end)())",
            "local co = coroutine.create(function() end)\nreturn select('#', coroutine.resume(co))",
            "return pcall(coroutine.yield, 1)",
            "return coroutine.isyieldable(), coroutine.wrap(coroutine.isyieldable)()",
            "return coroutine.wrap(function(...) return coroutine.yield(...) end)(1, nil)",
        ] {
            let plain = Lua::new();
            let wanted: MultiValue = plain.load(source).set_name("@script.lua").eval().unwrap();
            let lua = crate::lua::tests::state();
            let got = run(&lua, source).unwrap();
            let text = |values: MultiValue| values.iter().map(|v| v.to_string().unwrap()).collect::<Vec<_>>();
            assert_eq!(text(got), text(wanted), "{source}");
        }
    }

    #[test]
    fn a_script_without_memory_fails_and_the_state_is_of_use_after_it() {
        let lua = crate::lua::tests::state();
        lua.set_memory_limit(lua.used_memory() + (8 << 20)).unwrap();
        let error = run(&lua, "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end").unwrap_err();
        assert_eq!(
            error.to_string(),
            "not enough memory\nhint: a script may take half of the memory that is free when it begins"
        );
        lua.gc_collect().unwrap();
        assert_eq!(run(&lua, "return 1").unwrap().front(), Some(&Value::Integer(1)));
    }

    #[test]
    fn what_is_given_up_closes_what_it_left_open() {
        let lua = crate::lua::tests::state();
        let source = "local x <close> = setmetatable({}, { __close = function() CLOSED = (CLOSED or 0) + 1 end })
            coroutine.wrap(function()
              local y <close> = setmetatable({}, { __close = function() CLOSED = (CLOSED or 0) + 1 end })
              WAIT()
            end)()";
        let wait = lua.create_async_function(|_, ()| std::future::pending::<mlua::Result<()>>()).unwrap();
        lua.globals().set("WAIT", wait).unwrap();
        let function = lua.load(source).into_function().unwrap();
        let mut end = Box::pin(Call::new(&lua, function, ()).unwrap().end::<()>());
        let waker = futures_util::task::noop_waker();
        assert!(end.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        assert_eq!(lua.globals().get::<Option<i64>>("CLOSED").unwrap(), None);
        drop(end);
        assert_eq!(lua.globals().get::<Option<i64>>("CLOSED").unwrap(), Some(2));
    }
}
