//! The text of a line's result.

use mlua::{Lua, Table, Value};

use crate::lua::api::guest::STREAMED;

/// Says whether a result's output was already shown as it came.
pub fn has_streamed(lua: &Lua, value: &Value) -> bool {
    let Value::Table(table) = value else { return false };
    let streamed = lua.named_registry_value::<Table>(STREAMED).ok();
    streamed.is_some_and(|streamed| table.metatable() == Some(streamed))
}

/// Says how a failed command ended.
pub fn status_of(value: &Value) -> Option<String> {
    let status: i64 = value.as_table()?.raw_get("status").ok()?;
    (status != 0).then(|| format!("exit status {status}"))
}
