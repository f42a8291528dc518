//! An image as a script holds it, and how it is built.

use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;

use mlua::{Function, Lua, Value};

use crate::error::{Error, Result};
use crate::image::{Claim, Format, Image, Ready, Workshop};
use crate::lua::runtime::context::Context;
use crate::lua::runtime::raised::Call;
use crate::lua::value::error::{from_lua, kind_of};

/// An image as a script holds it: a description, and the function that builds it, if any.
#[derive(Clone)]
pub struct AnyImage {
    pub image: Image,
    pub build: Option<Function>,
    /// The Lua expression that makes it, if known.
    pub expression: Option<String>,
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

    /// Returns the image's files, after building or downloading them if they are not cached.
    pub async fn ready(&self, lua: &Lua, context: &Arc<Context>) -> Result<Ready> {
        let (images, image) = (Arc::clone(&context.images), self.image.clone());
        let Some(build) = &self.build else {
            return context.blocking(move |engine| image.ready(&images, &engine.events, &engine.interrupt)).await;
        };
        if context.engine.is_simulated() {
            return Ok(Ready { disk: PathBuf::new(), format: Format::Qcow2, boot: None, stamp: None });
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
        let workshop = work.0.lock().take();
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
    /// Acts in the workshop; fails if it is closed.
    pub fn with<T>(&self, act: impl FnOnce(&Workshop) -> Result<T>) -> Result<T> {
        match &*self.0.lock() {
            Some(workshop) => act(workshop),
            None => Err(Error::failed("this image has been built; `work` is over")),
        }
    }
}
