//! `param(name, default)`: the value that `--set` passes to a script.

use mlua::{Lua, Value};

use crate::error::Error;
use crate::lua::runtime::context::{Context, caller};
use crate::lua::runtime::params::{Asked, DefaultValue};
use crate::lua::value::options::string_argument;

const EXAMPLE: &str = "param(\"version\", \"10.11\")";

/// `param(name, default)`.
pub fn param(lua: &Lua, (name, default): (Value, Value)) -> mlua::Result<Value> {
    let name = string_argument("param", "the name", &name, EXAMPLE)?;
    if name.is_empty() || name.contains('=') {
        return Err(Error::failed(format!("param: {name:?} cannot name a parameter")).hint("--set NAME=VALUE").into());
    }
    let wanted = DefaultValue::of(&default)?;
    let context = Context::of(lua)?;
    let params = &context.control.params;
    let place = caller(lua).unwrap_or_else(|| "the prompt".to_string());
    params.ask(&name, Asked { default: wanted.clone(), place })?;
    match (params.set(&name), wanted) {
        (Some(text), wanted) => wanted.read(lua, &name, text),
        (None, DefaultValue::Required) => {
            Err(Error::usage(format!("parameter `{name}` has no default, and nothing sets it"))
                .hint(format!("--set {name}=VALUE"))
                .into())
        }
        (None, _) => Ok(default),
    }
}
