//! Runs typed lines one by one.

use futures_util::FutureExt;
use mlua::Lua;

use crate::error::{Error, Result};
use crate::lua::prompt::dot;
use crate::lua::prompt::prompt::{At, CHUNK, Prompt};
use crate::lua::runtime::ask::Answer;
use crate::lua::runtime::interrupt::{drop_abandoned, interrupt_loops, interrupted};
use crate::lua::value::error::from_lua;
use crate::lua::value::source::UTF8_MARK;
use crate::lua::value::tokens::has_open_quote;
use crate::tree;

/// Runs a typed line: a dot command, an expression, or statements. An interrupt ends the line but not the prompt.
pub async fn carry_out(prompt: &Prompt, line: &str) -> Result<Answer> {
    let line = line.trim_start_matches(UTF8_MARK);
    let interrupt = prompt.context().engine.interrupt.clone();
    interrupt.lower();
    let done = match prepare(prompt).await {
        Err(error) => Err(error),
        Ok(()) => {
            let carried_out = std::panic::AssertUnwindSafe(dot::carry_out(prompt, line)).catch_unwind();
            tokio::select! {
                biased;
                () = interrupted(&interrupt) => Err(Error::interrupted()),
                () = prompt.context().exited() => Ok(Answer { text: None, leaves: true }),
                done = carried_out => done.unwrap_or_else(|_| Err(Error::bug("the line broke something"))),
            }
        }
    };
    if prompt.context().exit_code().is_some() {
        // Running calls end as after an interrupt.
        interrupt.raise();
    }
    if interrupt.is_raised() {
        drop_abandoned(&prompt.lua);
    }
    rest(prompt);
    interrupt.lower();
    done.map_err(|error| said(error, line))
}

/// Releases claims until the next line. A script that waits for its prompt keeps its claims, and so do the calls of an
/// interrupted line that have not ended yet.
fn rest(prompt: &Prompt) {
    for context in prompt.connections.all() {
        if prompt.is_alone() && context.is_idle() {
            context.engine.pause();
        }
    }
}

/// Prepares for a line: it may declare again what earlier lines declared, and a lost connection is reopened.
async fn prepare(prompt: &Prompt) -> Result<()> {
    for context in prompt.connections.all() {
        if prompt.is_alone() {
            context.forget_places();
        }
        context.blocking(|engine| engine.revive()).await?;
    }
    interrupt_loops(&prompt.lua, prompt.context().engine.interrupt.clone()).map_err(|error| from_lua(&error))?;
    if let Some(At { context, work }) = prompt.at() {
        // A fork that is gone cannot make room. The line finds that out itself, since it may be the one that leaves it.
        let _ = context.blocking(move |engine| tree::make_room_to_go_back(engine, &work)).await;
    }
    Ok(())
}

/// Omits the place from an error if it can only be the line that was just typed.
fn said(mut error: Error, line: &str) -> Error {
    let is_here = |place: &String| place.strip_prefix(CHUNK).is_some_and(|rest| rest.starts_with(':'));
    if !line.trim_end().contains('\n') {
        error.location = error.location.filter(|place| !is_here(place));
    }
    error.traceback.retain(|place| !is_here(place));
    error
}

/// Says whether a text is complete or needs more lines. Wrong text is complete: more lines would not mend it.
pub fn is_whole(text: &str) -> bool {
    // A string in quotes ends with its line, closed or not.
    if dot::is_command(text) || has_open_quote(text) {
        return true;
    }
    let lua = Lua::new();
    let compiled = [format!("return {text}"), text.to_string()].map(|source| lua.load(source).into_function());
    let wants_more = |error: &mlua::Error| matches!(error, mlua::Error::SyntaxError { incomplete_input: true, .. });
    compiled.iter().any(Result::is_ok) || !compiled.iter().flat_map(|compiled| compiled.as_ref().err()).any(wants_more)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use super::*;
    use crate::error::Kind;
    use crate::lua::prompt::words;
    use crate::lua::runtime::connections::Connections;
    use crate::lua::tests::state;

    /// Makes a prompt on a fake hypervisor.
    fn prompt() -> Rc<Prompt> {
        let lua = state();
        let connections = lua.app_data_ref::<Arc<Connections>>().map(|connections| Arc::clone(&connections)).unwrap();
        words::prompt(&lua, connections, None).unwrap()
    }

    #[test]
    fn a_module_whose_load_was_interrupted_is_loaded_again() {
        let prompt = prompt();
        let interrupt = prompt.context().engine.interrupt.clone();
        let stop = move |_: &Lua, ()| {
            interrupt.raise();
            Ok(())
        };
        let stop = prompt.lua.create_function(stop).unwrap();
        let wait = prompt.lua.create_async_function(|_, ()| std::future::pending::<mlua::Result<()>>()).unwrap();
        prompt.names.set("stop", stop).unwrap();
        prompt.names.set("wait", wait).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let line = |line: &str| runtime.block_on(carry_out(&prompt, line));
        for (n, endless) in ["while true do end", "wait()"].into_iter().enumerate() {
            line(&format!(
                "LOADS = 0; package.preload.m{n} = function() LOADS = LOADS + 1
                   if LOADS == 1 then stop() {endless} end
                   return LOADS
                 end"
            ))
            .unwrap();
            let error = line(&format!("coroutine.wrap(require)('m{n}')")).unwrap_err();
            assert_eq!(error.kind, Kind::Interrupted, "{endless}");
            let loaded = line(&format!("(require 'm{n}')")).unwrap();
            assert_eq!(loaded.text.as_deref(), Some("2"), "{endless}");
        }
    }

    #[test]
    fn a_line_that_breaks_something_is_an_error_and_the_next_one_is_carried_out() {
        let prompt = prompt();
        let breaks = prompt.lua.create_function(|_, ()| -> mlua::Result<()> { panic!("the test's own") }).unwrap();
        prompt.names.set("breaks", breaks).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let line = |line: &str| runtime.block_on(carry_out(&prompt, line));
        for broken in ["breaks()", "pcall(breaks)"] {
            let error = line(broken).unwrap_err();
            assert_eq!((error.kind, error.message.as_str()), (Kind::Bug, "the line broke something"), "{broken}");
            assert_eq!(line("1 + 1").unwrap().text.as_deref(), Some("2"));
        }
    }

    #[test]
    fn what_is_not_whole_waits_for_more() {
        for (text, whole) in [
            ("", true),
            ("1 + 1", true),
            ("x = 1", true),
            ("function f()", false),
            ("function f() end", true),
            ("f {", false),
            ("f {\n}", true),
            ("x = [[a", false),
            ("x = \"a", true),
            ("end", true),
            (".tree", true),
            ("1 +", false),
        ] {
            assert_eq!(is_whole(text), whole, "{text}");
        }
    }
}
