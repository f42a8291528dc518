//! The parameters of a script: those that `--set` passes, and those that it has asked for.

use parking_lot::Mutex;
use std::collections::BTreeMap;

use mlua::{Lua, Value};

use crate::error::{Error, Result};
use crate::lua::value::options::shown;

/// The parameters of one run.
pub struct Params {
    set: BTreeMap<String, String>,
    asked: Mutex<BTreeMap<String, Asked>>,
}

/// How a script first asked for a parameter.
#[derive(Clone)]
pub struct Asked {
    pub default: DefaultValue,
    pub place: String,
}

/// The default of a parameter, which also determines its type.
#[derive(Clone, Debug, PartialEq)]
pub enum DefaultValue {
    Required,
    Text(String),
    Whole(i64),
    Number(f64),
    Truth(bool),
}

impl Params {
    pub fn new(set: BTreeMap<String, String>) -> Self {
        Self { set, asked: Mutex::default() }
    }

    /// Lists the parameters that the script asked for.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().keys().cloned().collect()
    }

    /// Finds a parameter that was set but not asked for.
    pub fn unasked(&self) -> Option<&str> {
        let asked = self.asked();
        self.set.keys().find(|key| !asked.contains(key)).map(String::as_str)
    }

    /// Returns the value that was set.
    pub fn set(&self, name: &str) -> Option<&str> {
        self.set.get(name).map(String::as_str)
    }

    /// Records how a script asks for a parameter; fails if the default differs from an earlier one.
    pub fn ask(&self, name: &str, asked: Asked) -> Result<()> {
        let mut all = self.asked.lock();
        let first = all.entry(name.to_string()).or_insert_with(|| asked.clone());
        if first.default == asked.default {
            return Ok(());
        }
        Err(Error::failed(format!(
            "parameter `{name}` has {} at {} and {} at {}",
            first.default.said(),
            first.place,
            asked.default.said(),
            asked.place
        ))
        .hint("a parameter has one default: read it once, into a local"))
    }
}

impl DefaultValue {
    pub fn of(value: &Value) -> Result<Self> {
        match value {
            Value::Nil => Ok(Self::Required),
            Value::String(text) => Ok(Self::Text(text.to_string_lossy())),
            Value::Integer(number) => Ok(Self::Whole(*number)),
            Value::Number(number) => Ok(Self::Number(*number)),
            Value::Boolean(truth) => Ok(Self::Truth(*truth)),
            other => Err(Error::failed(format!(
                "param: the default must be a string, a number or a boolean, not {}",
                shown(other)
            ))),
        }
    }

    fn said(&self) -> String {
        match self {
            Self::Required => "no default".to_string(),
            Self::Text(text) => format!("the default {text:?}"),
            Self::Whole(number) => format!("the default {number}"),
            Self::Number(number) => format!("the default {number:?}"),
            Self::Truth(truth) => format!("the default {truth}"),
        }
    }

    /// Reads a set value as the default's type.
    pub fn read(&self, lua: &Lua, name: &str, text: &str) -> mlua::Result<Value> {
        let wrong = |wanted: &str| {
            Error::usage(format!("--set {name}={text}: `{name}` must be {wanted}"))
                .hint(format!("the script gives it {}", self.said()))
        };
        match self {
            Self::Required | Self::Text(_) => lua.create_string(text).map(Value::String),
            Self::Truth(_) => match text {
                "true" => Ok(Value::Boolean(true)),
                "false" => Ok(Value::Boolean(false)),
                _ => Err(wrong("true or false").into()),
            },
            Self::Whole(_) | Self::Number(_) => match (text.parse::<i64>(), text.parse::<f64>()) {
                (Ok(number), _) if matches!(self, Self::Whole(_)) => Ok(Value::Integer(number)),
                (_, Ok(number)) if number.is_finite() => Ok(Value::Number(number)),
                _ => Err(wrong("a number").into()),
            },
        }
    }
}
