//! `require`: modules beside the script, then the user's own, then the ones in the binary.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use include_dir::File;
use mlua::chunk::ChunkMode;
use mlua::{FromLua, Lua, Table, UserData, UserDataMethods, UserDataRef, Value};
use tokio::sync::Notify;

use crate::error::{Because, Error, Result};
use crate::lua::manual::Manual;
use crate::lua::runtime::context::Context;
use crate::lua::stdlib::{EMBEDDED, META, STDLIB};
use crate::lua::value::failure::original;
use crate::lua::value::source;

/// Where `require` looks for modules.
#[derive(Clone, Debug, Default)]
pub struct Modules {
    /// The script's own directory, then the user's.
    pub directories: Vec<PathBuf>,
    /// The script itself, which can hide a module.
    pub script: Option<PathBuf>,
}

/// What Lua reports as the file of a module that the script preloaded itself.
const PRELOAD: &str = ":preload:";

/// A module that another one needs before it can continue.
struct Needed {
    name: String,
    file: String,
}

impl FromLua for Needed {
    fn from_lua(value: Value, lua: &Lua) -> mlua::Result<Self> {
        let module = Table::from_lua(value, lua)?;
        Ok(Self { name: module.raw_get("name")?, file: module.raw_get("file")? })
    }
}

impl Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", if self.file == PRELOAD { &self.name } else { &self.file })
    }
}

/// A module's source and the name that errors give it.
struct Found {
    source: Vec<u8>,
    name: String,
}

/// Wakes those that wait for a module, once it is loaded or has failed.
struct Signal(Arc<Notify>);

impl UserData for Signal {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("wait", |_, this, ()| {
            let signal = Arc::clone(&this.0);
            async move {
                signal.notified().await;
                Ok(())
            }
        });
    }
}

/// Replaces Lua's `require` by one that also finds the modules in the binary, and whose modules may wait for guests
/// while they load. `resumed_by` is the prelude's.
pub fn install(lua: &Lua, modules: Modules, resumed_by: Table) -> mlua::Result<()> {
    let package: Table = lua.globals().get("package")?;
    // What a script adds to it is searched first.
    package.set("path", "")?;
    package.set("cpath", "")?;
    let script = modules.script.clone();
    let find = lua.create_function(move |lua, name: String| {
        let path: Option<String> = package.get("path")?;
        let found = modules.find(&name, path.as_deref().unwrap_or_default())?;
        Context::of(lua)?.control.loaded(&found.source);
        Ok((
            lua.load(found.source).set_name(format!("@{}", found.name)).set_mode(ChunkMode::Text).into_function()?,
            found.name,
        ))
    })?;
    let signal = lua.create_function(|_, ()| Ok(Signal(Arc::default())))?;
    let ended = lua.create_function(|lua, (loading, runs): (Table, Table)| {
        lua.create_function(move |lua, (module, failure): (Table, Value)| {
            loading.raw_set(module.raw_get::<Value>("name")?, Value::Nil)?;
            runs.raw_set(module.raw_get::<Value>("thread")?, module.raw_get::<Value>("outer")?)?;
            if !failure.is_nil() {
                module.raw_set("failed", lua.create_sequence_from([original(lua, failure)?])?)?;
            }
            module.raw_get::<UserDataRef<Signal>>("ended")?.0.notify_waiters();
            Ok(())
        })
    })?;
    let refuse =
        lua.create_function(move |_, cycle: Vec<Needed>| Err::<(), _>(refusal(&cycle, script.as_deref()).into()))?;
    let chunk = lua.load(include_str!("require.lua")).set_name(format!("@{STDLIB}/require.lua"));
    chunk.call((find, signal, refuse, ended, resumed_by))
}

/// The error for modules that require each other in a cycle; the last is the first.
fn refusal(cycle: &[Needed], script: Option<&Path>) -> Error {
    const HINT: &str =
        "call `require` of one of them inside the function that uses it, or move what both need into a third";
    let script = script.and_then(|script| script.canonicalize().ok().zip(Some(script)));
    if let Some((canonical, script)) = script {
        let is_script = |module: &&Needed| Path::new(&module.file).canonicalize().is_ok_and(|file| file == canonical);
        if let Some(Needed { name, .. }) = cycle.iter().find(is_script) {
            let ships = if embedded(name).is_some() { ", which ships with snaptree" } else { "" };
            if cycle.len() == 2 || !ships.is_empty() {
                let hides = format!("the script `{}` hides the module `{name}`{ships}", script.display());
                return Error::failed(hides).hint("rename the script");
            }
        }
    }
    match cycle {
        [module, _] => Error::failed(format!("the module {module} requires itself")),
        modules => {
            let modules: Vec<String> = modules.iter().map(Needed::to_string).collect();
            Error::failed(format!("modules require each other: {}", modules.join(" -> ")))
        }
    }
    .hint(HINT)
}

/// Lists the files that a module may be in.
fn candidates(name: &str) -> [String; 2] {
    let module = name.replace('.', "/");
    [format!("{module}.lua"), format!("{module}/init.lua")]
}

/// Finds a module that ships with snaptree.
fn embedded(name: &str) -> Option<&'static File<'static>> {
    let candidates = candidates(name);
    // Stubs describe modules, but are not modules.
    let modules = candidates.iter().map(Path::new).filter(|candidate| !candidate.starts_with(META));
    modules.filter_map(|candidate| EMBEDDED.get_file(candidate)).next()
}

/// Lists the modules that a script can require.
pub fn names(modules: &Modules) -> Vec<String> {
    let mut names: Vec<String> = Manual::embedded().modules().iter().map(|module| module.name.clone()).collect();
    for directory in &modules.directories {
        list(directory, "", &mut names);
    }
    names.sort();
    names.dedup();
    names
}

/// Lists the modules in a directory and in its direct subdirectories.
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
    /// Finds a module; `path` is Lua's list of templates.
    fn find(&self, name: &str, path: &str) -> Result<Found> {
        let module = name.replace('.', "/");
        let candidates = candidates(name);
        let of_path = path.split(';').filter(|template| !template.is_empty());
        let of_path = of_path.map(|template| PathBuf::from(template.replace('?', &module)));
        let ours = self.directories.iter().flat_map(|directory| candidates.iter().map(|file| directory.join(file)));
        if let Some(file) = of_path.chain(ours).find(|file| file.is_file()) {
            let bytes = std::fs::read(&file).because(|| format!("cannot read module `{name}`"))?;
            let file = file.display().to_string();
            return Ok(Found { source: source::text(bytes, &file)?, name: file });
        }
        if let Some(file) = embedded(name) {
            let name = format!("{STDLIB}/{}", file.path().display());
            return Ok(Found { source: file.contents().to_vec(), name });
        }
        let places: Vec<String> =
            self.directories.iter().map(|directory| format!("`{}`", directory.display())).collect();
        let path = if path.is_empty() { String::new() } else { "`package.path`, ".to_string() };
        Err(Error::failed(format!("there is no module `{name}`"))
            .cause(format!("neither in {path}{} nor in the binary", places.join(", ")))
            .hint("a module NAME.SUB is a file NAME/SUB.lua, such as one beside the script"))
    }
}
