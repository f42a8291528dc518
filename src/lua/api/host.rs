//! `host`: what a script reads from the host, so that snaptree can name it when it changes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mlua::{Lua, LuaString, Table, Value};

use crate::error::{Because, Error, Result};
use crate::lua::runtime::context::Context;
use crate::lua::value::error::kind_of;
use crate::tree::Content;

pub fn table(lua: &Lua) -> mlua::Result<Table> {
    let host = lua.create_table()?;
    host.set("read", lua.create_function(read)?)?;
    host.set("env", lua.create_function(env)?)?;
    host.set("glob", lua.create_function(glob)?)?;
    Ok(host)
}

/// `host.read(path)` returns a file's content.
fn read(lua: &Lua, path: PathBuf) -> mlua::Result<LuaString> {
    let context: Arc<Context> = Context::of(lua)?;
    let content = std::fs::read(&path)
        .because(|| format!("host.read: cannot read `{}`", path.display()))
        .map_err(|error| error.hint("a path is relative to the directory in which snaptree was started"))?;
    context.engine.inputs.name(&Content::of(&content), &path.display().to_string());
    lua.create_string(content)
}

/// `host.env(name, default)` returns an environment variable; without a default it must be set.
fn env(lua: &Lua, (name, default): (OsString, Value)) -> mlua::Result<LuaString> {
    let default = match default {
        Value::Nil => None,
        Value::String(text) => Some(text),
        other => {
            let message = format!("host.env: the default must be a string, not {}", kind_of(&other));
            return Err(Error::failed(message).into());
        }
    };
    if let Some(value) = std::env::var_os(&name) {
        return lua.create_string(value.as_bytes());
    }
    Ok(default.ok_or_else(|| {
        Error::failed(format!("host.env: `{}` is not set", name.display()))
            .hint(format!("host.env({name:?}, \"...\") gives it a default"))
    })?)
}

/// `host.glob(pattern)` lists the files that match, sorted by name; `*` matches any text without `/`.
fn glob(lua: &Lua, pattern: OsString) -> mlua::Result<Table> {
    let paths = matching(&pattern)?;
    let paths = paths.iter().map(|path| lua.create_string(path.as_os_str().as_bytes()));
    lua.create_sequence_from(paths.collect::<mlua::Result<Vec<_>>>()?)
}

fn matching(pattern: &OsStr) -> Result<Vec<PathBuf>> {
    let pattern = pattern.as_bytes();
    if pattern.is_empty() {
        return Err(Error::failed("host.glob: the pattern is empty").hint("host.glob(\"conf/*.cnf\")"));
    }
    let (start, parts) = match pattern.strip_prefix(b"/") {
        Some(rest) => (PathBuf::from("/"), rest),
        None => (PathBuf::new(), pattern),
    };
    let mut found = vec![start];
    for part in parts.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        found = found.iter().flat_map(|directory| entries(directory, part)).collect();
    }
    found.sort();
    Ok(found)
}

/// Lists the entries of a directory whose names match.
fn entries(directory: &Path, pattern: &[u8]) -> Vec<PathBuf> {
    if !pattern.iter().any(|byte| matches!(byte, b'*' | b'?')) {
        let path = directory.join(OsStr::from_bytes(pattern));
        return if path.exists() { vec![path] } else { Vec::new() };
    }
    let readable = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let Ok(read) = std::fs::read_dir(readable) else { return Vec::new() };
    let names = read.flatten().map(|entry| entry.file_name());
    // As in a shell, a hidden file only matches a pattern that begins with a dot.
    let is_meant = |name: &OsString| {
        let name = name.as_bytes();
        (!name.starts_with(b".") || pattern.starts_with(b".")) && matches(pattern, name)
    };
    names.filter(is_meant).map(|name| directory.join(name)).collect()
}

/// Matches a name against a pattern in which `*` is any text and `?` is one character.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (pattern, name) = (characters(pattern), characters(name));
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some([b'*']) => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b"?".as_slice() || *c == name[n] => {
                p += 1;
                n += 1;
            }
            // The last star takes one character more.
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b"*".as_slice())
}

/// Splits a name into characters; each byte that is not UTF-8 is one.
fn characters(name: &[u8]) -> Vec<&[u8]> {
    let mut characters = Vec::new();
    for chunk in name.utf8_chunks() {
        let valid = chunk.valid();
        characters.extend(valid.char_indices().map(|(at, c)| &valid.as_bytes()[at..at + c.len_utf8()]));
        characters.extend(chunk.invalid().chunks(1));
    }
    characters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*", "a", true),
            ("*.cnf", "my.cnf", true),
            ("*.cnf", "my.cnf.bak", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("?", "é", true),
            ("??", "a", false),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} and {name}");
        }
        assert!(matches(b"a?c", b"a\xffc") && matches(b"a\xff*", b"a\xffc") && !matches(b"a?", b"a\xff\xff"));
    }

    #[test]
    fn files_are_found_in_their_order() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.cnf", "a.cnf", ".hidden.cnf", "c.txt"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let found = |pattern: &str| {
            let pattern = format!("{}/{pattern}", directory.path().display());
            let names = matching(pattern.as_ref()).unwrap().into_iter();
            names.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found("*.cnf"), ["a.cnf", "b.cnf"]);
        assert_eq!(found("nope*"), Vec::<String>::new());
        assert_eq!(found("c.txt"), ["c.txt"]);
    }
}
