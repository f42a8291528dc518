//! Option tables: every key is known, every value has the right type, and a wrong one says what would be right.

use std::collections::BTreeMap;
use std::time::Duration;

use mlua::{Table, Value};

use crate::error::{Error, Result};
use crate::tree::nearest;

/// The options of one call.
pub struct Options {
    /// The function, as the user writes it.
    function: &'static str,
    table: Option<Table>,
}

impl Options {
    /// Takes the last argument of a call; refuses what is not a table and keys that are not in `known`.
    pub fn read(function: &'static str, value: Value, known: &[&str]) -> Result<Self> {
        let table = match value {
            Value::Nil => None,
            Value::Table(table) => Some(table),
            other => {
                let message = format!("{function}: options must be a table, not a {}", other.type_name());
                return Err(Error::failed(message).hint(format!("the options are: {}", known.join(", "))));
            }
        };
        let keys = table.iter().flat_map(|table| table.pairs::<Value, Value>());
        for (key, _) in keys.flatten() {
            let key = key.to_string().unwrap_or_default();
            if !known.contains(&key.as_str()) {
                return Err(unknown(function, &key, known));
            }
        }
        Ok(Self { function, table })
    }

    fn value(&self, name: &str) -> Value {
        self.table.as_ref().and_then(|table| table.raw_get(name).ok()).unwrap_or(Value::Nil)
    }

    fn wrong(&self, name: &str, wanted: &str, value: &Value) -> Error {
        Error::failed(format!("{}: `{name}` must be {wanted}, not {}", self.function, shown(value)))
    }

    pub fn get(&self, name: &str) -> Option<Value> {
        Some(self.value(name)).filter(|value| !value.is_nil())
    }

    pub fn string(&self, name: &str) -> Result<Option<String>> {
        match self.value(name) {
            Value::Nil => Ok(None),
            Value::String(text) => Ok(Some(text.to_string_lossy())),
            other => Err(self.wrong(name, "a string", &other)),
        }
    }

    pub fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match self.value(name) {
            Value::Nil => Ok(None),
            Value::String(text) => Ok(Some(text.as_bytes().to_vec())),
            other => Err(self.wrong(name, "a string", &other)),
        }
    }

    pub fn boolean(&self, name: &str) -> Result<Option<bool>> {
        match self.value(name) {
            Value::Nil => Ok(None),
            Value::Boolean(truth) => Ok(Some(truth)),
            other => Err(self.wrong(name, "true or false", &other)),
        }
    }

    pub fn positive(&self, name: &str) -> Result<Option<u32>> {
        match self.value(name) {
            Value::Nil => Ok(None),
            Value::Integer(number) if number > 0 && number <= i64::from(u16::MAX) => Ok(Some(number as u32)),
            other => Err(self.wrong(name, "a whole number from 1 on", &other)),
        }
    }

    /// Reads a number of bytes: `"1GiB"`, `"512MiB"`.
    pub fn size(&self, name: &str) -> Result<Option<u64>> {
        const WANTED: &str = "a size such as \"512MiB\" or \"2GiB\"";
        match self.value(name) {
            Value::Nil => Ok(None),
            Value::String(text) => {
                let mut size = text.to_string_lossy();
                // A lone letter is a power of two, as in virsh and qemu-img.
                if size.ends_with(['K', 'M', 'G', 'T']) {
                    size.push_str("iB");
                }
                let size = size.parse::<bytesize::ByteSize>();
                size.map(|size| Some(size.as_u64())).map_err(|_| self.wrong(name, WANTED, &Value::String(text)))
            }
            other => Err(self.wrong(name, WANTED, &other)),
        }
    }

    /// Reads a time: `"10m"`, `"1h 30m"`, or a number of seconds.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>> {
        const WANTED: &str = "a time such as \"90s\" or \"10m\", or a number of seconds";
        let value = self.value(name);
        let duration = match &value {
            Value::Nil => return Ok(None),
            Value::String(text) => humantime::parse_duration(&text.to_string_lossy()).ok(),
            Value::Integer(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
            Value::Number(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
            _ => None,
        };
        duration.filter(|duration| !duration.is_zero()).map(Some).ok_or_else(|| self.wrong(name, WANTED, &value))
    }

    /// Reads permissions: `"0644"`.
    pub fn mode(&self, name: &str) -> Result<Option<u32>> {
        const WANTED: &str = "permissions in octal as a string, such as \"0644\"";
        let value = self.value(name);
        let mode = match &value {
            Value::Nil => return Ok(None),
            Value::String(text) => u32::from_str_radix(&text.to_string_lossy(), 8).ok(),
            _ => None,
        };
        mode.filter(|mode| *mode <= 0o7777).map(Some).ok_or_else(|| self.wrong(name, WANTED, &value))
    }

    /// Reads a table of names and values, such as an environment.
    pub fn map(&self, name: &str) -> Result<BTreeMap<String, String>> {
        const WANTED: &str = "a table of names and values, such as { LANG = \"C\" }";
        let value = self.value(name);
        let table = match &value {
            Value::Nil => return Ok(BTreeMap::new()),
            Value::Table(table) => table,
            other => return Err(self.wrong(name, WANTED, other)),
        };
        let mut map = BTreeMap::new();
        for pair in table.pairs::<Value, Value>() {
            match pair {
                Ok((Value::String(key), Value::String(text))) => {
                    map.insert(key.to_string_lossy(), text.to_string_lossy())
                }
                Ok((Value::String(key), Value::Integer(number))) => {
                    map.insert(key.to_string_lossy(), number.to_string())
                }
                _ => return Err(self.wrong(name, WANTED, &value)),
            };
        }
        Ok(map)
    }
}

/// Refuses an option that a function does not have.
pub fn unknown(function: &str, key: &str, known: &[&str]) -> Error {
    let error = Error::failed(format!("{function}: unknown option `{key}`"));
    match nearest(key, known.iter().copied()) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None if known.is_empty() => error.hint("it takes no options"),
        None => error.hint(format!("the options are: {}", known.join(", "))),
    }
}

/// A value as an error message shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{:?}", text.to_string_lossy()),
        Value::Integer(_) | Value::Number(_) | Value::Boolean(_) => value.to_string().unwrap_or_default(),
        other => format!("a {}", other.type_name()),
    }
}

/// Gives the Lua modules that ship with snaptree the same checks, as `require "snaptree"`.
pub fn install(lua: &mlua::Lua) -> mlua::Result<()> {
    let module = lua.create_table()?;
    module.set("check_options", lua.create_function(check_options)?)?;
    module.set("suggest", lua.create_function(suggest)?)?;
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
            let message = format!("{function}: options must be a table, not a {}", other.type_name());
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
                let message = format!("{function}: `{key}` must be a {wanted}, not {}", shown(&value));
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
