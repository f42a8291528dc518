//! What unit tests of this room have in common.

use std::path::Path;
use std::sync::Arc;

use mlua::Lua;

use super::connection::Connections;
use super::context::{Context, OnFailure};
use super::control::{Control, Orders};
use super::require::Modules;
use crate::fake;
use crate::image::ImageCache;
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
    super::state(&context, connections, Modules::default()).unwrap()
}
