//! `image`: where a machine's disk comes from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use mlua::{Function, Lua, LuaSerdeExt, MetaMethod, Table, UserData, UserDataFields, UserDataMethods, Value};

use crate::error::{Error, Result};
use crate::image::{Claim, Format, Image, Reading, Ready, Workshop};
use crate::lua::runtime::context::Context;
use crate::lua::runtime::raised::Call;
use crate::lua::value::error::{from_lua, kind_of};
use crate::lua::value::options::Options;
use crate::lua::value::show::quoted;

const FILE_OPTIONS: [&str; 3] = ["sha256", "format", "max_size"];

/// An image as a script holds it: a description, and the function that builds it where there is one.
#[derive(Clone)]
pub struct AnyImage {
    image: Image,
    build: Option<Function>,
    /// What a script says to have it, where that is known.
    pub expression: Option<String>,
}

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
            .hint("image.url(url, { sha256 = \"...\" }); whoever publishes the image publishes it")
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

/// Reads how a file is to be read.
fn reading(options: &Options) -> Result<Reading> {
    let format = options.choice("format", &Format::NAMES)?.and_then(|name| Format::named(&name));
    Ok(Reading { format, max_size: options.size("max_size")? })
}

/// Writes a call with the file and the options that it was called with.
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

impl AnyImage {
    /// Reads the option `image` of a machine.
    pub fn from_option(value: Option<Value>) -> Result<Self> {
        const HINT: &str = "such as require(\"images.debian\") { suite = \"bookworm\" }, or image.file(\"disk.qcow2\")";
        match value {
            None => Err(Error::failed("machine: `image` is missing").hint(HINT)),
            Some(Value::UserData(data)) if data.is::<Self>() => {
                data.borrow::<Self>().map(|image| image.clone()).map_err(|error| from_lua(&error))
            }
            Some(other) => {
                Err(Error::failed(format!("machine: `image` must be an image, not {}", kind_of(&other))).hint(HINT))
            }
        }
    }

    pub fn digest(&self) -> &str {
        &self.image.digest
    }

    /// Returns the image's files, after building or downloading them where they are not cached.
    pub async fn ready(&self, lua: &Lua, context: &Arc<Context>) -> Result<Ready> {
        let (images, image) = (Arc::clone(&context.images), self.image.clone());
        let Some(build) = &self.build else {
            return context.blocking(move |engine| image.ready(&images, &engine.events, &engine.interrupt)).await;
        };
        if context.engine.hypervisor.is_simulated() {
            return Ok(Ready { disk: PathBuf::new(), format: Format::Qcow2, boot: None });
        }
        let claim = context.blocking(move |engine| images.claim(&image, &engine.events, &engine.interrupt)).await?;
        let workshop = match claim {
            Claim::Ready(ready) => return Ok(ready),
            Claim::Build(workshop) => workshop,
        };
        let work = Work(Arc::new(Mutex::new(Some(workshop))));
        let built = match Call::new(lua, build.clone(), work.clone()) {
            Ok(call) => call.end::<()>().await,
            Err(error) => Err(error),
        };
        let workshop = work.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        built?;
        match workshop {
            Some(workshop) => context.blocking(move |_| workshop.finish()).await,
            None => Err(Error::bug("a workshop was closed while it was used")),
        }
    }
}

/// `work`: the directory in which an image's build function works.
#[derive(Clone)]
pub struct Work(Arc<Mutex<Option<Workshop>>>);

impl Work {
    fn with<T>(&self, act: impl FnOnce(&Workshop) -> Result<T>) -> Result<T> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(workshop) => act(workshop),
            None => Err(Error::failed("this image has been built; `work` is over")),
        }
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
