//! An image as a script holds it, and how it is built.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use mlua::{Function, Lua, MetaMethod, UserData, UserDataFields, UserDataMethods, Value};

use crate::error::{Error, Result};
use crate::image::{Claim, Format, Image, Ready, Workshop};
use crate::lua::runtime::context::Context;
use crate::lua::runtime::raised::Call;
use crate::lua::value::error::{from_lua, kind_of};
use crate::lua::value::options::Options;

/// An image as a script holds it: a description, and the function that builds it where there is one.
#[derive(Clone)]
pub struct AnyImage {
    pub image: Image,
    pub build: Option<Function>,
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
        if context.engine.is_simulated() {
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
