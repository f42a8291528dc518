//! The prompt: runs lines one by one on a script's own runtime.

mod complete;
mod dot;
mod help;
pub mod line;
#[expect(clippy::module_inception, reason = "a file is a noun and holds the type of that name")]
mod prompt;
mod recipe;
mod result;
pub mod words;

use std::sync::Arc;

use futures_util::FutureExt;

use crate::error::{Error, Result};
use crate::lua::handle::domain::Domain;
use crate::lua::handle::snapshot::Snapshot;
use crate::lua::prompt::prompt::{At, Prompt};
use crate::lua::runtime::ask::{Ask, Asks, Door};
use crate::lua::runtime::connections::Connections;
use crate::lua::runtime::context::{AfterFailure, FailedStep};
use crate::lua::runtime::control::Control;
use crate::lua::runtime::interrupt::interrupted;
use crate::lua::state::{Script, Settings, State};
use crate::lua::value::error::from_lua;
use crate::tree;

/// Answers until the asker is gone, or the process is to end.
async fn serve(prompt: &Prompt, mut asks: Asks) -> Result<()> {
    let interrupt = prompt.context().engine.interrupt.clone();
    let ended = async {
        loop {
            interrupted(&interrupt).await;
            if interrupt.is_end() {
                return;
            }
            // Nothing was running that it could end.
            interrupt.lower();
        }
    };
    tokio::pin!(ended);
    loop {
        let ask = tokio::select! {
            biased;
            () = &mut ended => return Err(Error::interrupted()),
            ask = asks.next() => ask,
        };
        // The asker may be gone before the answer.
        let _ = match ask {
            None => return Ok(()),
            Some(Ask::Place(reply)) => reply.send(prompt.place()).is_ok(),
            Some(Ask::Line(line, reply)) => reply.send(line::carry_out(prompt, &line).await).is_ok(),
            Some(Ask::Complete { line, at, reply }) => reply.send(complete::complete(prompt, &line, at)).is_ok(),
            Some(Ask::Hint { line, at, reply }) => reply.send(complete::hint(prompt, &line, at)).is_ok(),
        };
    }
}

/// Runs the script, if any, and reports its errors; then answers line after line. Returns the code of `os.exit`, or 0.
pub fn run_prompt(
    settings: &Settings,
    script: Option<Script>,
    asks: Asks,
    told: impl Fn(&Error) -> Result<()>,
) -> Result<i32> {
    let context =
        settings.context(Control::running(settings.orders, None), settings.door.clone().map(after_failure))?;
    context.contents.start_keeping();
    let state = State::new(&context, Arc::clone(&settings.connect), settings.modules(script))?;
    let script = script.map(|script| (script.file.to_path_buf(), script.arguments.to_vec()));
    let prompt = words::prompt(&state.lua, Arc::clone(&state.connections), script).map_err(|error| from_lua(&error))?;
    let ended = state.runtime.block_on(async {
        if prompt.script.is_some()
            && let Err(error) = line::carry_out(&prompt, dot::RELOAD).await
        {
            told(&error)?;
        }
        if context.exit_code().is_none() { serve(&prompt, asks).await } else { Ok(()) }
    });
    prompt.work_in(None);
    ended.map(|()| context.exit_code().unwrap_or_default())
}

/// Returns a callback that opens a prompt on each failed step.
pub fn after_failure(door: Door) -> AfterFailure {
    Arc::new(move |step| {
        let asks = door(step.error);
        post_mortem(step, asks).boxed_local()
    })
}

/// Lets the user inspect a failed step; says whether to run the step again.
async fn post_mortem(step: FailedStep<'_>, asks: Asks) -> Result<bool> {
    let FailedStep { lua, context, parent, path, .. } = step;
    let _open = context.prompts.open();
    let connections = lua.app_data_ref::<Arc<Connections>>().map(|connections| Arc::clone(&connections));
    let connections = connections.ok_or_else(|| Error::bug("this Lua state has no connections"))?;
    let prompt = words::prompt(lua, connections, None).map_err(|error| from_lua(&error))?;
    let domain = Domain::new(Arc::clone(context), parent.machine.clone());
    prompt.names.raw_set("parent", Snapshot::grown(&domain, parent.clone())).map_err(|error| from_lua(&error))?;
    prompt.allow_retry();
    let place = path.clone();
    let work = Arc::new(context.blocking(move |engine| tree::work_on_failed(engine, &place)).await?);
    prompt.work_in(Some(At { context: Arc::clone(context), work }));
    let served = serve(&prompt, asks).await;
    prompt.leave().await;
    served.map(|()| prompt.is_retried())
}
