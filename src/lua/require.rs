//! `require`: modules beside the script, then the user's own, then the ones in the binary.

use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use mlua::{Lua, Table, Value};

use super::context::Context;
use super::error::STDLIB;
use super::manual::META;
use super::manual::Manual;
use crate::error::{Because, Error, Result};

pub static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/stdlib");

/// Where modules are looked for.
#[derive(Clone, Debug)]
pub struct Modules {
    /// The script's own directory, then the user's.
    pub directories: Vec<PathBuf>,
}

/// A module's source and the name that errors give it.
struct Found {
    source: Vec<u8>,
    name: String,
}

/// Replaces Lua's `require` by one whose modules may wait for guests while they load.
pub fn install(lua: &Lua, modules: Modules) -> mlua::Result<()> {
    let loaded: Table = lua.globals().get::<Table>("package")?.get("loaded")?;
    let require = lua.create_async_function(move |lua, name: String| {
        let (modules, loaded) = (modules.clone(), loaded.clone());
        async move {
            let present: Value = loaded.get(name.as_str())?;
            if !present.is_nil() {
                return Ok(present);
            }
            let found = modules.find(&name)?;
            Context::of(&lua)?.control.loaded(&found.source);
            let chunk = lua.load(found.source).set_name(format!("@{}", found.name));
            let value: Value = chunk.into_function()?.call_async(name.as_str()).await?;
            let value = if value.is_nil() { Value::Boolean(true) } else { value };
            loaded.set(name.as_str(), &value)?;
            Ok(value)
        }
    })?;
    lua.globals().set("require", require)
}

/// Lists the modules that can be asked for.
pub fn names(modules: &Modules) -> Vec<String> {
    let mut names: Vec<String> = Manual::embedded().modules().iter().map(|module| module.name.clone()).collect();
    for directory in &modules.directories {
        list(directory, "", &mut names);
    }
    names.sort();
    names.dedup();
    names
}

/// Lists the modules in a directory and in those right below it.
fn list(directory: &Path, prefix: &str, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        match name.strip_suffix(".lua") {
            Some("init") if !prefix.is_empty() => names.push(prefix.trim_end_matches('.').to_string()),
            Some(module) => names.push(format!("{prefix}{module}")),
            None if prefix.is_empty() && path.is_dir() => list(&path, &format!("{name}."), names),
            None => {}
        }
    }
}

impl Modules {
    fn find(&self, name: &str) -> Result<Found> {
        let path = name.replace('.', "/");
        let candidates = [format!("{path}.lua"), format!("{path}/init.lua")];
        for directory in &self.directories {
            for file in candidates.iter().map(|candidate| directory.join(candidate)) {
                if file.is_file() {
                    let source = std::fs::read(&file).because(|| format!("cannot read module `{name}`"))?;
                    return Ok(Found { source, name: file.display().to_string() });
                }
            }
        }
        for candidate in &candidates {
            // Stubs describe modules, and are none.
            if Path::new(candidate).starts_with(META) {
                continue;
            }
            if let Some(file) = EMBEDDED.get_file(Path::new(candidate)) {
                return Ok(Found { source: file.contents().to_vec(), name: format!("{STDLIB}/{candidate}") });
            }
        }
        let places: Vec<String> =
            self.directories.iter().map(|directory| format!("`{}`", directory.display())).collect();
        Err(Error::failed(format!("there is no module `{name}`"))
            .cause(format!("neither in {} nor in the binary", places.join(", ")))
            .hint("a module NAME.SUB is a file NAME/SUB.lua, such as one beside the script"))
    }
}
