//! `image`: where a machine's disk comes from, and `work`, in which one is built.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use mlua::{Lua, LuaSerdeExt, MetaMethod, Table, UserData, UserDataFields, UserDataMethods, Value};

use crate::error::{Error, Result};
use crate::image::{Format, Image, Reading};
use crate::lua::handle::image::{AnyImage, Work};
use crate::lua::runtime::context::Context;
use crate::lua::value::error::kind_of;
use crate::lua::value::options::Options;
use crate::lua::value::show::quoted;

const FILE_OPTIONS: [&str; 3] = ["sha256", "format", "max_size"];

impl UserData for AnyImage {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(MetaMethod::Type, "image");
        fields.add_field_method_get("name", |_, this| Ok(this.image.label.clone()));
        fields.add_field_method_get("digest", |_, this| Ok(this.image.digest.clone()));
    }
}

/// `image`: `file`, `url` and `build`.
pub fn table(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("file", lua.create_async_function(file)?)?;
    table.set("url", lua.create_function(url)?)?;
    table.set("build", lua.create_function(build)?)?;
    Ok(table)
}

/// `image.file(path, { sha256 =, format =, max_size = })`.
async fn file(lua: Lua, (path, options): (PathBuf, Value)) -> mlua::Result<AnyImage> {
    let options = Options::read("image.file", options, &FILE_OPTIONS)?;
    let (sha256, reading) = (options.string("sha256")?, reading(&options)?);
    let expression = expression(&options, &path.to_string_lossy());
    let context = Context::of(&lua)?;
    let images = Arc::clone(&context.images);
    let image =
        context.blocking(move |engine| Image::file(&images, &path, sha256.as_deref(), reading, &engine.interrupt));
    Ok(AnyImage { image: image.await?, build: None, expression: Some(expression) })
}

/// `image.url(url, { sha256 =, format =, max_size = })`.
fn url(_: &Lua, (url, options): (String, Value)) -> mlua::Result<AnyImage> {
    let options = Options::read("image.url", options, &FILE_OPTIONS)?;
    let Some(sha256) = options.string("sha256")? else {
        return Err(Error::failed(format!("image.url: `{url}` needs a checksum"))
            .hint("use image.url(url, { sha256 = \"...\" }); the image's publisher lists the checksum")
            .into());
    };
    let expression = expression(&options, &url);
    Ok(AnyImage { image: Image::url(&url, &sha256, reading(&options)?)?, build: None, expression: Some(expression) })
}

/// `image.build { name =, inputs =, cmdline =, expression =, build = function(work) end }`.
fn build(lua: &Lua, options: Value) -> mlua::Result<AnyImage> {
    let options = Options::read("image.build", options, &["name", "inputs", "cmdline", "build", "expression"])?;
    let missing = |what: &str| Error::failed(format!("image.build: `{what}` is missing"));
    let name = options.string("name")?.ok_or_else(|| missing("name"))?;
    let inputs = lua.from_value(options.get("inputs").ok_or_else(|| missing("inputs"))?)?;
    let image = Image::built(&name, inputs, options.string("cmdline")?.as_deref())?;
    match options.get("build") {
        Some(Value::Function(build)) => {
            Ok(AnyImage { image, build: Some(build), expression: options.string("expression")? })
        }
        Some(other) => {
            Err(Error::failed(format!("image.build: `build` must be a function, not {}", kind_of(&other))).into())
        }
        None => Err(missing("build").into()),
    }
}

/// Reads the options that say how to read a file.
fn reading(options: &Options) -> Result<Reading> {
    let format = options.choice("format", &Format::NAMES)?.and_then(|name| Format::named(&name));
    Ok(Reading { format, max_size: options.size("max_size")? })
}

/// Formats a call as the script wrote it: the file or URL, and the options.
fn expression(options: &Options, what: &str) -> String {
    let given = |name: &&str| match options.string(name) {
        Ok(Some(value)) => Some(format!("{name} = {}", quoted(value.as_bytes()))),
        _ => None,
    };
    let given: Vec<String> = FILE_OPTIONS.iter().filter_map(given).collect();
    let (function, what) = (options.function(), quoted(what.as_bytes()));
    if given.is_empty() {
        format!("{function}({what})")
    } else {
        format!("{function}({what}, {{ {} }})", given.join(", "))
    }
}

impl UserData for Work {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_meta_field(MetaMethod::Type, "work");
        fields.add_field_method_get("dir", |_, this| {
            Ok(this.with(|workshop| Ok(workshop.path().display().to_string()))?)
        });
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_async_method("run", |lua, this, (command, options): (Value, Value)| async move {
            let options = Options::read("work:run", options, &["stdin", "env"])?;
            let argv = match command {
                Value::String(line) => {
                    vec!["/bin/sh".to_string(), "-euc".to_string(), line.to_string_lossy()]
                }
                Value::Table(words) => words.sequence_values::<String>().collect::<mlua::Result<_>>()?,
                other => {
                    let message = format!("work:run: a command is a string or a list, not {}", kind_of(&other));
                    return Err(Error::failed(message).into());
                }
            };
            let stdin = options.bytes("stdin")?;
            let env: BTreeMap<String, String> = options.map("env")?;
            let work = this.clone();
            let context = Context::of(&lua)?;
            let run = move |_: &_| work.with(|workshop| workshop.run(&argv, stdin.as_deref(), &env));
            Ok(context.blocking(run).await?)
        });
        methods.add_method("write", |_, this, (name, text, options): (String, mlua::LuaString, Value)| {
            let options = Options::read("work:write", options, &["mode"])?;
            let mode = options.mode("mode")?.unwrap_or(0o644);
            Ok(this.with(|workshop| workshop.write(&name, &text.as_bytes(), mode))?)
        });
    }
}
