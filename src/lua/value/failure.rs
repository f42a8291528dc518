//! Errors of ours as a script catches them.

use mlua::{Lua, MetaMethod, RegistryKey, UserData, UserDataFields, UserDataMethods, Value};

use crate::error::{Error, Kind, Raised};
use crate::lua::value::error::{from_lua, no_such_field, read_only};

/// What `pcall` returns if the script did not raise the value itself.
pub struct Failure(pub Error);

const KNOWN: [&str; 5] = ["message", "hint", "kind", "place", "failures"];

impl UserData for Failure {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(MetaMethod::Type, "error");
        fields.add_field_method_get("message", |_, this| {
            Ok(std::iter::once(&this.0.message).chain(&this.0.causes).cloned().collect::<Vec<_>>().join(": "))
        });
        fields.add_field_method_get("hint", |_, this| Ok(this.0.hint.clone()));
        fields.add_field_method_get("kind", |_, this| Ok(word(this.0.kind)));
        fields.add_field_method_get("place", |_, this| Ok(this.0.location.clone()));
        fields.add_field_method_get("failures", |lua, this| match &this.0.raised {
            Some(Raised::Together(errors)) => {
                let values = errors.iter().map(|error| value_of(lua, error.clone()));
                values.collect::<mlua::Result<Vec<Value>>>().map(Some)
            }
            _ => Ok(None),
        });
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::ToString, |_, this, ()| Ok(this.0.to_string()));
        methods.add_meta_function(MetaMethod::Concat, |lua, (left, right): (Value, Value)| {
            let text = |value: Value| match value {
                Value::UserData(data) => data.borrow::<Self>().map(|failure| failure.0.to_string().into_bytes()),
                value => match lua.coerce_string(value.clone())? {
                    Some(text) => Ok(text.as_bytes().to_vec()),
                    None => Err(Error::failed(format!("attempt to concatenate a {} value", value.type_name())).into()),
                },
            };
            lua.create_string([text(left)?, text(right)?].concat())
        });
        methods.add_meta_method(MetaMethod::Index, |_, _, key: Value| {
            Err::<Value, _>(no_such_field("an error", &key, &KNOWN))
        });
        methods.add_meta_method(MetaMethod::NewIndex, |_, _, (key, _): (Value, Value)| {
            Err::<(), _>(read_only("an error", &key))
        });
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Failed => "failed",
        Kind::Usage => "usage",
        Kind::Unavailable => "unavailable",
        Kind::Bug => "bug",
        Kind::Timeout => "timeout",
        Kind::Interrupted => "interrupted",
    }
}

/// Returns what represents an error in a script that catches it: the table with the raised value, or an object. Returns
/// `None` if it is not an error of ours.
pub fn caught(lua: &Lua, value: Value) -> mlua::Result<Option<Value>> {
    let Value::Error(error) = value else { return Ok(None) };
    stands_for(lua, from_lua(&error)).map(Some)
}

/// Returns the value that a script gets when it catches one.
pub fn original(lua: &Lua, value: Value) -> mlua::Result<Value> {
    match value {
        Value::Error(error) => value_of(lua, from_lua(&error)),
        value => Ok(value),
    }
}

fn stands_for(lua: &Lua, error: Error) -> mlua::Result<Value> {
    if let Some(Raised::Value(key)) = &error.raised
        && let Some(key) = key.downcast_ref::<RegistryKey>()
    {
        return lua.registry_value(key);
    }
    Ok(Value::UserData(lua.create_userdata(Failure(error))?))
}

/// Returns the value that represents an error in a script.
pub fn value_of(lua: &Lua, error: Error) -> mlua::Result<Value> {
    match stands_for(lua, error)? {
        Value::Table(raised) => raised.raw_get("value"),
        failure => Ok(failure),
    }
}
