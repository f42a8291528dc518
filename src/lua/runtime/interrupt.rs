//! Interrupts end calls that wait, and loops that never call into snaptree.

use std::time::Duration;

use mlua::{HookTriggers, Lua, VmState};

use crate::error::Error;
use crate::stop::Interrupt;

/// Waits for an interrupt.
pub async fn interrupted(interrupt: &Interrupt) {
    const TICK: Duration = Duration::from_millis(50);
    while !interrupt.is_raised() {
        tokio::time::sleep(TICK).await;
    }
}

/// Lets an interrupt end a loop that never calls into snaptree.
pub fn interrupt_loops(lua: &Lua, interrupt: Interrupt) -> mlua::Result<()> {
    const EVERY: u32 = 1_000;
    lua.set_global_hook(HookTriggers::new().every_nth_instruction(EVERY), move |lua, _| {
        if interrupt.is_raised() {
            // If a pcall in the script catches this, the next instruction raises it again.
            lua.set_global_hook(HookTriggers::new().every_nth_instruction(1), |_, _| Err(Error::interrupted().into()))?;
            return Err(Error::interrupted().into());
        }
        Ok(VmState::Continue)
    })
}

/// Drops what abandoned coroutines hold: builders and forks, which would outlive the process. If they are nested, each
/// collection finds the next one.
pub fn drop_abandoned(lua: &Lua) {
    const DEEPEST: usize = 8;
    for _ in 0..DEEPEST {
        // A failing finalizer cannot be reported.
        let _ = lua.gc_collect();
    }
}
