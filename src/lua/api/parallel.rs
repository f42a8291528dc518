//! `parallel { f, g, ... }`: runs functions at the same time, such as parts of a script that grow branches.

use futures_util::future::join_all;
use mlua::{Function, Lua, Table, Value};

use crate::error::{Error, Result};
use crate::lua::runtime::context::Context;
use crate::lua::runtime::raised::Call;
use crate::lua::value::error::{from_lua, kind_of};

/// Runs every function of a table at the same time; returns a table with each result under its function's key. If some
/// fail, the others still finish, and all failures are reported together.
pub async fn parallel(lua: Lua, functions: Value) -> mlua::Result<Table> {
    let context = Context::of(&lua)?;
    if context.is_in_step(&lua) {
        return Err(Error::failed("parallel cannot be used inside a step")
            .cause("snaptree identifies a step by the order of its operations")
            .hint("to build branches at the same time, use snapshot:branches { ... }, or parallel around them")
            .into());
    }
    let functions = functions_of(&functions)?;
    let mut running = Vec::with_capacity(functions.len());
    for (key, function) in functions {
        let call = Call::new(&lua, function, ())?;
        running.push(async move { (key, call.end::<Value>().await) });
    }
    let (results, mut failures) = (lua.create_table()?, Vec::new());
    for (key, ended) in join_all(running).await {
        match ended {
            Ok(value) => results.set(key, value)?,
            Err(error) => failures.push(error),
        }
    }
    match Error::together(failures) {
        Some(error) => Err(error.into()),
        None => Ok(results),
    }
}

/// Lists the functions in order: first those of the list, then the named ones by name.
fn functions_of(value: &Value) -> Result<Vec<(Value, Function)>> {
    const HINT: &str = "parallel { function() ... end, function() ... end }";
    let Value::Table(table) = value else {
        let message = format!("parallel takes a table of functions, not {}", kind_of(value));
        return Err(Error::failed(message).hint(HINT));
    };
    let mut functions = Vec::new();
    for pair in table.pairs::<Value, Value>() {
        match pair.map_err(|error| from_lua(&error))? {
            (key, Value::Function(function)) => functions.push((key, function)),
            (key, other) => {
                let key = key.to_string().unwrap_or_default();
                let message = format!("parallel: `{key}` must be a function, not {}", kind_of(&other));
                return Err(Error::failed(message).hint(HINT));
            }
        }
    }
    // Lua's tables have no order, but the reports of a run should.
    functions.sort_by_cached_key(|(key, _)| match key {
        Value::Integer(number) => (0, *number, String::new()),
        key => (1, 0, key.to_string().unwrap_or_default()),
    });
    Ok(functions)
}
