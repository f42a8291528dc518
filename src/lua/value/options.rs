//! Option tables: unknown keys and values of the wrong type are errors that say what is right.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use mlua::{Table, Value};

use crate::error::{Error, Result};
use crate::lua::value::error::kind_of;
use crate::tree::{NamedInputs, did_you_mean, nearest};

const PART: &str = "true, false or a file";

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
                let message = format!("{function}: options must be a table, not {}", shown(&other));
                return Err(Error::failed(message).hint(listed(known)));
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

    pub fn function(&self) -> &str {
        self.function
    }

    pub fn wrong(&self, name: &str, wanted: &str, value: &Value) -> Error {
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
            other => Err(self.wrong(name, "a whole number from 1 to 65535", &other)),
        }
    }

    /// Reads a boolean; the default is false.
    pub fn flag(&self, name: &str) -> Result<bool> {
        Ok(self.boolean(name)?.unwrap_or_default())
    }

    /// The error for two options that exclude each other.
    pub fn conflict(&self, one: &str, other: &str) -> Error {
        Error::failed(format!("{}: `{one}` and `{other}` exclude each other", self.function))
            .hint("leave one of them out")
    }

    /// Reads one of several words.
    pub fn choice(&self, name: &str, known: &[&str]) -> Result<Option<String>> {
        self.get(name).map(|value| self.word(name, &value, known)).transpose()
    }

    /// Reads one of several words, or a list of them; without the option, the list is empty.
    pub fn choices(&self, name: &str, known: &[&str]) -> Result<Vec<String>> {
        match self.value(name) {
            Value::Nil => Ok(Vec::new()),
            Value::Table(words) => {
                let mut chosen = Vec::with_capacity(words.raw_len());
                for (key, word) in words.pairs::<Value, Value>().flatten() {
                    if !key.is_integer() {
                        let key = key.to_string().unwrap_or_default();
                        let message = format!("{}: `{name}` is a list, and has no key `{key}`", self.function);
                        return Err(Error::failed(message).hint(format!("such as {name} = {{ {:?} }}", known[0])));
                    }
                    chosen.push(self.word(name, &word, known)?);
                }
                Ok(chosen)
            }
            word => Ok(vec![self.word(name, &word, known)?]),
        }
    }

    fn word(&self, name: &str, value: &Value, known: &[&str]) -> Result<String> {
        if let Value::String(word) = value
            && let word = word.to_string_lossy()
            && known.contains(&word.as_str())
        {
            return Ok(word);
        }
        let quoted: Vec<String> = known.iter().map(|word| format!("{word:?}")).collect();
        let wanted = match quoted.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => quoted.concat(),
        };
        let error = self.wrong(name, &wanted, value);
        let near = value.as_string().and_then(|word| nearest(&word.to_string_lossy(), known.iter().copied()));
        Err(match near {
            Some(near) => error.hint(format!("did you mean {near:?}?")),
            None => error,
        })
    }

    /// Reads `true`, `false` or a file name.
    pub fn part(&self, name: &str) -> Result<Option<Part>> {
        let part = |value: Value| Part::of(&value).ok_or_else(|| self.wrong(name, PART, &value));
        self.get(name).map(part).transpose()
    }

    /// Reads a table of parts by name.
    pub fn parts(&self, name: &str, example: &str) -> Result<BTreeMap<String, Part>> {
        let wrong = |value: &Value| self.wrong(name, &format!("a table such as {example}"), value);
        let table = match self.value(name) {
            Value::Nil => return Ok(BTreeMap::new()),
            Value::Table(table) => table,
            other => return Err(wrong(&other)),
        };
        let mut parts = BTreeMap::new();
        for (key, value) in table.pairs::<Value, Value>().flatten() {
            let Value::String(key) = key else {
                let message = format!("{}: `{name}` must be a table such as {example}, not a list", self.function);
                return Err(Error::failed(message));
            };
            let key = key.to_string_lossy();
            let part = Part::of(&value).ok_or_else(|| self.wrong(&format!("{name}.{key}"), PART, &value))?;
            parts.insert(key, part);
        }
        Ok(parts)
    }

    /// Reads a number of bytes: `"1GiB"`, `"512MiB"`.
    pub fn size(&self, name: &str) -> Result<Option<u64>> {
        const WANTED: &str = "a size such as \"512MiB\" or \"2GiB\"";
        match self.value(name) {
            Value::Nil => Ok(None),
            Value::String(text) => {
                let mut size = text.to_string_lossy();
                // A single letter means a power of two, as in virsh and qemu-img.
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

    /// Reads further inputs of a node: a table of names and values.
    pub fn inputs(&self, name: &str) -> Result<NamedInputs> {
        let wrong = |value: &Value| self.wrong(name, "a table of names and values, such as { schema = 4 }", value);
        let table = match self.value(name) {
            Value::Nil => return Ok(NamedInputs::new()),
            Value::Table(table) => table,
            other => return Err(wrong(&other)),
        };
        let mut inputs = NamedInputs::new();
        for (key, value) in table.pairs::<Value, Value>().flatten() {
            // Items of a list are named by their positions.
            let key = match key {
                Value::String(text) => text.to_string_lossy(),
                Value::Integer(number) => number.to_string(),
                other => return Err(wrong(&other)),
            };
            let input = match &value {
                Value::String(text) => text.to_str().ok().map(|text| text.as_ref().into()),
                Value::Integer(number) => Some((*number).into()),
                Value::Number(number) => serde_json::Number::from_f64(*number).map(Into::into),
                Value::Boolean(truth) => Some((*truth).into()),
                _ => None,
            };
            let wrong = || self.wrong(&format!("{name}.{key}"), "a string, a number, true or false", &value);
            let input = input.ok_or_else(wrong)?;
            inputs.insert(key, input);
        }
        Ok(inputs)
    }

    /// Reads a text or a list of texts; empty ones are errors.
    pub fn texts(&self, name: &str) -> Result<Vec<String>> {
        const WANTED: &str = "a string or a list of strings, none of them empty";
        let value = self.value(name);
        let texts: mlua::Result<Vec<Value>> = match &value {
            Value::Nil => return Ok(Vec::new()),
            Value::Table(table) => table.sequence_values().collect(),
            text => Ok(vec![text.clone()]),
        };
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.to_string_lossy()).filter(|text| !text.is_empty()),
            _ => None,
        };
        let texts = texts.ok().and_then(|texts| texts.iter().map(text).collect());
        texts.ok_or_else(|| self.wrong(name, WANTED, &value))
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

/// Whether something takes part, and in which file.
#[derive(Debug, PartialEq, Eq)]
pub enum Part {
    No,
    Yes,
    File(PathBuf),
}

impl Part {
    fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Boolean(false) => Some(Self::No),
            Value::Boolean(true) => Some(Self::Yes),
            Value::String(file) if !file.as_bytes().is_empty() => {
                Some(Self::File(OsString::from_vec(file.as_bytes().to_vec()).into()))
            }
            _ => None,
        }
    }
}

/// The error for an option that a function does not have.
pub fn unknown(function: &str, key: &str, known: &[&str]) -> Error {
    Error::failed(format!("{function}: unknown option `{key}`"))
        .hint(did_you_mean(key, known.iter().copied(), || listed(known)))
}

fn listed(known: &[&str]) -> String {
    if known.is_empty() { "it takes no options".to_string() } else { format!("the options are: {}", known.join(", ")) }
}

/// Reads an optional argument that is a number.
pub fn whole_number(function: &str, what: &str, value: &Value) -> Result<Option<u64>> {
    match value {
        Value::Nil => Ok(None),
        Value::Integer(number) if *number > 0 => Ok(Some(number.unsigned_abs())),
        other => {
            Err(Error::failed(format!("{function}: {what} must be a positive whole number, not {}", shown(other))))
        }
    }
}

/// Reads a required string argument; `example` is a correct call.
pub fn string_argument(function: &str, what: &str, value: &Value, example: &str) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.to_string_lossy()),
        other => Err(Error::failed(format!("{function}: {what} must be a string, not {}", shown(other)))
            .hint(format!("such as {example}"))),
    }
}

/// A value as an error message shows it.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{:?}", text.to_string_lossy()),
        Value::Integer(_) | Value::Number(_) | Value::Boolean(_) => value.to_string().unwrap_or_default(),
        other => kind_of(other),
    }
}
