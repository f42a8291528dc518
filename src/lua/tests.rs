//! Helpers that the unit tests of this room share.

use std::path::Path;
use std::sync::Arc;

use mlua::Lua;

use crate::fake;
use crate::image::ImageCache;
use crate::lua::api::require::Modules;
use crate::lua::runtime::connections::Connections;
use crate::lua::runtime::context::{Context, OnFailure};
use crate::lua::runtime::control::{Control, Orders};
use crate::stop::Interrupt;
use crate::tree::{Engine, Events, Store};

/// Makes a state with the whole API, on a fake hypervisor.
pub fn state() -> Lua {
    let engine =
        Engine::new(fake::connect("fake:").unwrap(), Store::temporary().unwrap(), Events::none(), Interrupt::default());
    let control = Arc::new(Control::running(&Orders::default(), None));
    let images = Arc::new(ImageCache::looking(Path::new("/nosuch")));
    let context = Arc::new(Context::new(Arc::new(engine), images, 1, control, OnFailure::default()));
    let connections = Arc::new(Connections::new(Arc::clone(&context), Arc::new(|_| unreachable!())));
    crate::lua::state::state(&context, connections, Modules::default()).unwrap()
}
