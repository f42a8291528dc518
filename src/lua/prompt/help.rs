//! `help`: the manual, by a name or by a value.

use mlua::{Table, Value};

use crate::error::{Error, Result};
use crate::lua::manual::Manual;
use crate::lua::prompt::prompt::Prompt;
use crate::lua::value::error::kind_of;

/// Explains a name, or the value of a variable of the prompt.
pub fn on_name(prompt: &Prompt, name: &str) -> Result<String> {
    let manual = Manual::embedded();
    if let Some(text) = manual.text(name) {
        return Ok(text);
    }
    let (head, rest) = name.find([':', '.']).map_or((name, ""), |at| name.split_at(at));
    let value = prompt.value(head).filter(|value| !value.is_nil());
    let known = value.and_then(|value| manual.text(&format!("{}{rest}", name_of(prompt, &value)?)));
    known.ok_or_else(|| {
        let error = Error::failed(format!("there is no help on `{name}`"));
        match manual.nearest(name) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("help() lists what there is"),
        }
    })
}

/// Explains a value; without one, lists everything.
pub fn on_value(prompt: &Prompt, value: &Value) -> Result<String> {
    match value {
        Value::Nil => Ok(Manual::embedded().overview()),
        Value::String(name) => on_name(prompt, &name.to_string_lossy()),
        value => name_of(prompt, value).and_then(|name| Manual::embedded().text(&name)).ok_or_else(|| {
            Error::failed(format!("there is no help on {} of yours", kind_of(value)))
                .hint("help() lists what there is; help(\"snapshot:branch\") explains one thing")
        }),
    }
}

/// Returns the manual's name of a value: its type, or where a function or table of ours is.
fn name_of(prompt: &Prompt, value: &Value) -> Option<String> {
    if let Value::UserData(data) = value {
        return data.type_name().ok().map(|name| name.to_string_lossy());
    }
    if !matches!(value, Value::Function(_) | Value::Table(_)) {
        return None;
    }
    let globals = prompt.lua.globals();
    let loaded = globals.raw_get::<Table>("package").and_then(|package| package.raw_get::<Table>("loaded")).ok()?;
    let is_it = |found: &Value| found.to_pointer() == value.to_pointer();
    for table in [&prompt.names, &globals, &loaded] {
        if let Some(name) = name_in(table, is_it) {
            return Some(name);
        }
    }
    let manual = Manual::embedded();
    let owners = [&globals, &loaded].into_iter().flat_map(|table| table.pairs::<String, Value>().flatten());
    owners.filter(|(name, _)| manual.entry(name).is_some()).find_map(|(owner, table)| {
        let name = name_in(table.as_table()?, is_it)?;
        Some(format!("{owner}.{name}"))
    })
}

/// Finds the manual's name of a value in a table.
fn name_in(table: &Table, is_it: impl Fn(&Value) -> bool) -> Option<String> {
    let mut pairs = table.pairs::<Value, Value>().flatten();
    pairs.find(|(name, value)| name.is_string() && is_it(value)).map(|(name, _)| name.to_string().unwrap_or_default())
}
