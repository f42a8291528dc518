//! Everything that a script can use: globals, and additions to Lua's own tables.

use std::sync::Arc;

use mlua::{Lua, Value};

use crate::error::Error;
use crate::lua::api::require::Modules;
use crate::lua::api::{connection, host, image, machine, parallel, param, require, snaptree};
use crate::lua::runtime::connections::Connections;
use crate::lua::runtime::context::Context;
use crate::lua::runtime::{prelude, raised};

/// Puts the API into a Lua state.
pub fn install(lua: &Lua, connections: Arc<Connections>, modules: Modules) -> mlua::Result<()> {
    let globals = lua.globals();
    globals.set("machine", machine::table(lua)?)?;
    globals.set("libvirt", connection::table(lua, connections)?)?;
    globals.set("image", image::table(lua)?)?;
    globals.set("host", host::table(lua)?)?;
    globals.set("parallel", lua.create_async_function(parallel::parallel)?)?;
    globals.set("param", lua.create_function(param::param)?)?;
    globals.set("debug", lua.create_table_from([("traceback", lua.create_function(raised::traceback)?)])?)?;
    globals.get::<mlua::Table>("os")?.set("exit", lua.create_async_function(exit)?)?;
    snaptree::install(lua)?;
    let resumed_by = prelude::install(lua)?;
    require::install(lua, modules, resumed_by)
}

/// `os.exit(code)`: ends the script, and what it has started, without a message.
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
