//! Runs a script to its end, or plans it.

use std::sync::Arc;

use crate::error::{Kind, Result};
use crate::image::ImageCache;
use crate::lua::prompt::after_failure;
use crate::lua::runtime::connections::Connector;
use crate::lua::runtime::context::{Context, OnFailure};
use crate::lua::runtime::control::{Control, Planned, no_such_param};
use crate::lua::state::{Program, Settings, State};
use crate::name::MachineName;
use crate::tree::Events;

/// How a script ended if it did not fail.
pub struct Ended {
    /// The machines that it declared.
    pub machines: Vec<MachineName>,
    /// The code of `os.exit`, if the script called it.
    pub exit_code: Option<i32>,
}

/// Runs a script to its end.
///
/// `planned` is the result of a plan of it, which orders other than parameters need.
pub fn run_script(settings: Settings, program: &Program, planned: Option<&Planned>) -> Result<Ended> {
    let context =
        settings.context(Control::running(settings.orders, planned), settings.door.clone().map(after_failure))?;
    let modules = settings.modules(Some(program.script));
    State::new(&context, Arc::clone(&settings.connect), modules)?.execute(program)?;
    let exit_code = context.exit_code();
    match context.control.params.unasked().filter(|_| exit_code.is_none()) {
        Some(key) => Err(no_such_param(key, &context.control.params.asked())),
        None => Ok(Ended { machines: context.machines(), exit_code }),
    }
}

/// Finds out what a run of a script would build, without changing anything; what the script prints goes to `events`.
pub fn plan_script(settings: Settings, program: &Program, events: &Events) -> Result<Planned> {
    let control = Arc::new(Control::planning(settings.orders));
    let engine = Arc::new(settings.engine.planning(events.clone()));
    let images = Arc::new(ImageCache::looking(settings.cache));
    let (open, muted) = (Arc::clone(&settings.connect), events.clone());
    let connect: Connector = Arc::new(move |uri| Ok(Arc::new(open(uri)?.planning(muted.clone()))));
    let context = Arc::new(Context::new(engine, images, settings.jobs, control, OnFailure::default()));
    match State::new(&context, connect, settings.modules(Some(program.script)))?.execute(program) {
        Err(error) if error.kind == Kind::Interrupted => Err(error),
        ended => Ok(context.control.planned(ended.err())),
    }
}
