//! Values in readable form.

use mlua::{Lua, Table, Value};

use crate::count::counted;
use crate::lua::value::error::from_lua;

const INDENT: usize = 2;
/// The maximum number of lines printed of a result, unless it is shown in full.
const LINES: usize = 40;

/// Writes a result; a long one is cut.
pub fn shown(lua: &Lua, value: &Value) -> String {
    let whole = whole(lua, value);
    let count = whole.lines().count();
    if count <= LINES {
        return whole;
    }
    let first: Vec<&str> = whole.lines().take(LINES).collect();
    let rest = counted(count - LINES, "more line", "more lines");
    format!("{}\n... {rest}; show(_) prints all", first.join("\n"))
}

/// Writes a value in full.
pub fn whole(lua: &Lua, value: &Value) -> String {
    match value {
        // Text of several lines is printed as it is.
        Value::String(text) if text.as_bytes().contains(&b'\n') => text.to_string_lossy().trim_end().to_string(),
        value => Writer { lua, limits: &WHOLE, above: Vec::new() }.write(value, 0),
    }
}

/// Writes a value in one line, short enough for an error; a table with its fields.
pub fn brief(lua: &Lua, value: &Value) -> String {
    let mut writer = Writer { lua, limits: &BRIEF, above: Vec::new() };
    match value {
        Value::Table(table) => writer.table(table, 0),
        value => writer.write(value, 0),
    }
}

/// How much of a value to write.
struct Limits {
    /// The width of a line; a longer table gets a line for each part.
    width: usize,
    /// How many levels of nested tables.
    deepest: usize,
    /// How many parts of each table.
    parts: usize,
    /// How many bytes of each text.
    text: usize,
}

const WHOLE: Limits = Limits { width: 80, deepest: 8, parts: usize::MAX, text: usize::MAX };
const BRIEF: Limits = Limits { width: usize::MAX, deepest: 2, parts: 10, text: 200 };

struct Writer<'a> {
    lua: &'a Lua,
    limits: &'a Limits,
    /// The tables that contain the one being written.
    above: Vec<Table>,
}

impl Writer<'_> {
    fn write(&mut self, value: &Value, column: usize) -> String {
        match value {
            Value::String(text) => self.text(&text.as_bytes()),
            Value::Table(table) if speaks_for_itself(table) => self.said(value),
            Value::Table(table) => self.table(table, column),
            Value::UserData(data) => {
                let kind = data.type_name().map_or_else(|_| "userdata".to_string(), |name| name.to_string_lossy());
                let said = self.said(value);
                if said.starts_with(&kind) { format!("<{said}>") } else { format!("<{kind} {said}>") }
            }
            Value::Error(error) => format!("<error {}>", from_lua(error)),
            Value::Function(_) => "<function>".to_string(),
            Value::Thread(_) => "<coroutine>".to_string(),
            value => self.said(value),
        }
    }

    /// Returns the result of Lua's `tostring`.
    fn said(&self, value: &Value) -> String {
        let tostring = self.lua.globals().get::<mlua::Function>("tostring");
        let said = tostring
            .and_then(|tostring| tostring.call::<mlua::LuaString>(value))
            .map_or_else(|error| from_lua(&error).to_string(), |said| said.to_string_lossy());
        // A table would be spread over lines of its own.
        match self.limits.width {
            usize::MAX => said.lines().next().unwrap_or_default().to_string(),
            _ => said,
        }
    }

    fn text(&self, bytes: &[u8]) -> String {
        match bytes.get(..self.limits.text) {
            Some(begun) if begun.len() < bytes.len() => format!("{}...", quoted(begun)),
            _ => quoted(bytes),
        }
    }

    fn table(&mut self, table: &Table, column: usize) -> String {
        if self.above.iter().any(|above| above == table) {
            return "<itself>".to_string();
        }
        if self.above.len() == self.limits.deepest {
            return "{...}".to_string();
        }
        self.above.push(table.clone());
        let parts = self.parts(table, column + INDENT);
        self.above.pop();
        let length: usize = parts.iter().map(|part| part.chars().count() + 2).sum();
        if parts.is_empty() {
            "{}".to_string()
        } else if (column + length).saturating_add(4) <= self.limits.width
            && !parts.iter().any(|part| part.contains('\n'))
        {
            format!("{{ {} }}", parts.join(", "))
        } else {
            let indent = " ".repeat(column + INDENT);
            format!(
                "{{\n{}{}}}",
                parts.iter().map(|part| format!("{indent}{part},\n")).collect::<String>(),
                " ".repeat(column)
            )
        }
    }

    /// Lists the parts of a table: its sequence, then the rest sorted by key.
    fn parts(&mut self, table: &Table, column: usize) -> Vec<String> {
        let length = table.raw_len();
        let most = self.limits.parts;
        let mut parts: Vec<String> = (1..=length.min(most))
            .filter_map(|n| table.raw_get::<Value>(n).ok())
            .map(|value| self.write(&value, column))
            .collect();
        let is_listed = |key: &Value| matches!(key, Value::Integer(n) if (1..=length as i64).contains(n));
        let pairs = table.pairs::<Value, Value>().flatten().filter(|(key, _)| !is_listed(key));
        let mut named: Vec<(String, Value)> = pairs.map(|(key, value)| (self.key(&key), value)).collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        let is_cut = length + named.len() > most;
        let named = named.into_iter().take(most - parts.len());
        parts.extend(named.map(|(key, value)| format!("{key} = {}", self.write(&value, column))));
        parts.extend(is_cut.then(|| "...".to_string()));
        parts
    }

    fn key(&mut self, key: &Value) -> String {
        if let Value::String(text) = key
            && let Ok(name) = text.to_str()
            && is_name(&name)
        {
            return name.to_string();
        }
        format!("[{}]", self.write(key, 0))
    }
}

/// Says whether a table has a `__tostring` of its own.
fn speaks_for_itself(table: &Table) -> bool {
    table.metatable().is_some_and(|meta| meta.contains_key("__tostring").unwrap_or(false))
}

/// Says whether a word is a valid Lua name.
pub fn is_name(word: &str) -> bool {
    let is_right = |(n, c): (usize, char)| c == '_' || c.is_ascii_alphabetic() || n > 0 && c.is_ascii_digit();
    !word.is_empty() && word.chars().enumerate().all(is_right) && !crate::lua::value::tokens::KEYWORDS.contains(&word)
}

/// Writes a string as a Lua literal.
pub fn quoted(bytes: &[u8]) -> String {
    let mut quoted = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => quoted.extend(['\\', c]),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                c if c.is_control() => quoted.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
                c => quoted.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| quoted.push_str(&format!("\\x{byte:02x}")));
    }
    quoted.push('"');
    quoted
}

/// Writes an options table as the last argument; empty if there are none.
pub fn options(options: &[Option<String>]) -> String {
    let set: Vec<&str> = options.iter().flatten().map(String::as_str).collect();
    if set.is_empty() { String::new() } else { format!(", {{ {} }}", set.join(", ")) }
}

/// Writes a name as a key of a table.
pub fn key(name: &str) -> String {
    if is_name(name) { name.to_string() } else { format!("[{}]", quoted(name.as_bytes())) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn written(expression: &str) -> String {
        let lua = Lua::new();
        let value = lua.load(expression).eval::<Value>().unwrap();
        shown(&lua, &value)
    }

    #[test]
    fn values_read_as_a_script_has_them() {
        for (value, text) in [
            ("1", "1"),
            ("1.0", "1.0"),
            ("'a\"b\\\\\\t\\0é\\xff'", r#""a\"b\\\t\u{0}é\xff""#),
            ("'one\\ntwo\\n'", "one\ntwo"),
            ("{}", "{}"),
            (
                "{1, 'x', a = true, [2.5] = {}, ['end'] = 1, ['a b'] = 2}",
                r#"{ 1, "x", ["a b"] = 2, ["end"] = 1, [2.5] = {}, a = true }"#,
            ),
            ("(function() local t = {1}; t.me = t; return t end)()", "{ 1, me = <itself> }"),
            ("setmetatable({}, { __tostring = function() return 'drawn' end })", "drawn"),
            ("{ print }", "{ <function> }"),
        ] {
            assert_eq!(written(value), text);
        }
    }

    #[test]
    fn a_wide_table_has_a_line_for_each_part_and_a_long_one_is_cut() {
        let wide = written("{ ('x'):rep(50), { a = ('y'):rep(40) } }");
        assert_eq!(wide, format!("{{\n  \"{}\",\n  {{ a = \"{}\" }},\n}}", "x".repeat(50), "y".repeat(40)));
        let long = written("(function() local t = {} for i = 1, 100 do t[i] = ('z'):rep(9) end return t end)()");
        assert_eq!(long.lines().count(), LINES + 1);
        assert!(long.ends_with("\n... 62 more lines; show(_) prints all"), "{long}");
    }
}
