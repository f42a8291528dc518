//! `require "snaptree"`: helpers in Rust for the Lua modules that ship with snaptree.

use std::collections::BTreeMap;

use mlua::{Table, Value};

use crate::error::Error;
use crate::lua::value::error::{kind_of, with_article};
use crate::lua::value::options::{shown, unknown};
use crate::lua::value::show::whole;
use crate::tree::nearest;

/// Gives the Lua modules that ship with snaptree the same checks, as `require "snaptree"`.
pub fn install(lua: &mlua::Lua) -> mlua::Result<()> {
    let module = lua.create_table()?;
    module.set("check_options", lua.create_function(check_options)?)?;
    module.set("suggest", lua.create_function(suggest)?)?;
    module.set("expression", lua.create_function(expression)?)?;
    lua.globals().get::<Table>("package")?.get::<Table>("loaded")?.set("snaptree", module)
}

/// `check_options(function, options, { name = "type", ... })` returns the options, or an empty table.
fn check_options(
    lua: &mlua::Lua,
    (function, options, types): (String, Value, BTreeMap<String, String>),
) -> mlua::Result<Table> {
    let table = match options {
        Value::Nil => return lua.create_table(),
        Value::Table(table) => table,
        other => {
            let message = format!("{function}: options must be a table, not {}", kind_of(&other));
            return Err(Error::failed(message).into());
        }
    };
    let known: Vec<&str> = types.keys().map(String::as_str).collect();
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let key = key.to_string()?;
        match types.get(&key) {
            None => return Err(unknown(&function, &key, &known).into()),
            Some(wanted) if value.type_name() != wanted && !(wanted == "number" && value.type_name() == "integer") => {
                let wanted = with_article(wanted);
                let message = format!("{function}: `{key}` must be {wanted}, not {}", shown(&value));
                return Err(Error::failed(message).into());
            }
            Some(_) => {}
        }
    }
    Ok(table)
}

fn suggest(_: &mlua::Lua, (word, known): (String, Vec<String>)) -> mlua::Result<Option<String>> {
    Ok(nearest(&word, known.iter().map(String::as_str)).map(str::to_string))
}

/// `expression(module, options)` returns the Lua expression that calls a module with options.
fn expression(lua: &mlua::Lua, (module, options): (String, Value)) -> mlua::Result<String> {
    let options = if options.is_nil() { Value::Table(lua.create_table()?) } else { options };
    Ok(format!("require {module:?} {}", whole(lua, &options)))
}
