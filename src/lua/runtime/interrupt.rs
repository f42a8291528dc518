//! Interrupts: they end what waits, and loops that call nothing of ours.

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

/// Lets an interrupt end a loop that calls nothing of ours.
pub fn interrupt_loops(lua: &Lua, interrupt: Interrupt) -> mlua::Result<()> {
    const EVERY: u32 = 10_000;
    lua.set_global_hook(HookTriggers::new().every_nth_instruction(EVERY), move |lua, _| {
        if interrupt.is_raised() {
            // A pcall in the script catches this once, and meets it again at the very next instruction.
            lua.set_global_hook(HookTriggers::new().every_nth_instruction(1), |_, _| Err(Error::interrupted().into()))?;
            return Err(Error::interrupted().into());
        }
        Ok(VmState::Continue)
    })
}

/// Drops what coroutines hold that were given up: builders and forks, which would outlive the process. Of those in each
/// other, each collection finds the next one.
pub fn drop_abandoned(lua: &Lua) {
    const DEEPEST: usize = 8;
    for _ in 0..DEEPEST {
        // A finalizer that fails has nobody to tell.
        let _ = lua.gc_collect();
    }
}
