//! Runs before a script: adapts Lua's own libraries to functions that wait and to errors that come from Rust.

use mlua::{Function, Lua, Table, Thread, Value};

use crate::lua::runtime::context::Context;
use crate::lua::runtime::raised;
use crate::lua::stdlib::STDLIB;
use crate::lua::value::failure::caught;
use crate::tree::Event;

/// Runs the prelude. Returns its table of the coroutine that last resumed each coroutine.
pub fn install(lua: &Lua) -> mlua::Result<Table> {
    let prelude = lua.load(include_str!("prelude.lua")).set_name(format!("@{STDLIB}/prelude.lua"));
    let traceback = lua.create_function(|lua, ()| lua.traceback(None, 0))?;
    let is_pending = lua.create_function(is_pending)?;
    let caught = lua.create_function(caught)?;
    let (print, abandon, lost) =
        (lua.create_function(print)?, lua.create_function(abandon)?, lua.create_function(lost)?);
    let (guard, resumed_by) = prelude.call((is_pending, caught, traceback, print, abandon, lost))?;
    raised::install(lua, guard)?;
    Ok(resumed_by)
}

/// Says whether a value is the one that mlua yields while an asynchronous function waits.
fn is_pending(_: &Lua, value: Value) -> mlua::Result<bool> {
    Ok(matches!(value, Value::LightUserData(pointer) if pointer == Lua::poll_pending()))
}

fn print(lua: &Lua, line: mlua::LuaString) -> mlua::Result<()> {
    Context::of(lua)?.engine.events.emit(Event::Printed(line.to_string_lossy()));
    Ok(())
}

/// Records that writing to standard output failed, with the system's error number.
fn lost(lua: &Lua, why: i32) -> mlua::Result<()> {
    Context::of(lua)?.engine.events.emit(Event::OutputLost(why));
    Ok(())
}

/// Makes the function that closes a waiting coroutine; it is not written in Lua, which an interrupt would stop.
fn abandon(lua: &Lua, close: Function) -> mlua::Result<Function> {
    lua.create_function(move |_, waiting: Table| match waiting.raw_get::<Option<Thread>>("thread")? {
        Some(thread) => close.call::<()>(thread),
        None => Ok(()),
    })
}
