//! `require`: modules beside the script, then the user's own, then the ones in the binary.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use include_dir::{Dir, include_dir};
use mlua::chunk::ChunkMode;
use mlua::{Lua, Table, UserData, UserDataMethods, UserDataRef, Value};
use tokio::sync::Notify;

use super::context::Context;
use super::error::STDLIB;
use super::manual::{META, Manual};
use super::raised::original;
use super::source;
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

/// Tells those who wait for a module that it is loaded, or will not be.
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
    // What a script adds to it is looked through first.
    package.set("path", "")?;
    package.set("cpath", "")?;
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
    let refuse = lua.create_function(|_, files: Vec<String>| Err::<(), _>(cycle(&files).into()))?;
    let chunk = lua.load(include_str!("require.lua")).set_name(format!("@{STDLIB}/require.lua"));
    chunk.call((find, signal, refuse, ended, resumed_by))
}

/// Refuses modules of which each needs the next one, and the last one is the first.
fn cycle(files: &[String]) -> Error {
    const HINT: &str =
        "call `require` of one of them inside the function that uses it, or move what both need into a third";
    let files: Vec<String> = files.iter().map(|file| format!("`{file}`")).collect();
    match files.as_slice() {
        [file, _] => Error::failed(format!("the module {file} requires itself")),
        files => Error::failed(format!("modules require each other: {}", files.join(" -> "))),
    }
    .hint(HINT)
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
    /// Finds a module; `path` is Lua's list of templates.
    fn find(&self, name: &str, path: &str) -> Result<Found> {
        let module = name.replace('.', "/");
        let candidates = [format!("{module}.lua"), format!("{module}/init.lua")];
        let of_path = path.split(';').filter(|template| !template.is_empty());
        let of_path = of_path.map(|template| PathBuf::from(template.replace('?', &module)));
        let ours = self.directories.iter().flat_map(|directory| candidates.iter().map(|file| directory.join(file)));
        if let Some(file) = of_path.chain(ours).find(|file| file.is_file()) {
            let bytes = std::fs::read(&file).because(|| format!("cannot read module `{name}`"))?;
            let file = file.display().to_string();
            return Ok(Found { source: source::text(bytes, &file)?, name: file });
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
        let path = if path.is_empty() { String::new() } else { "`package.path`, ".to_string() };
        Err(Error::failed(format!("there is no module `{name}`"))
            .cause(format!("neither in {path}{} nor in the binary", places.join(", ")))
            .hint("a module NAME.SUB is a file NAME/SUB.lua, such as one beside the script"))
    }
}
