//! Interactive consoles: a fork's, or a running machine's own.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::hypervisor::{Command, Console, Guest};
use crate::name::MachineName;
use crate::stop::{Interrupt, Stop};
use crate::tree::clone::builder::Builder;
use crate::tree::machine::engine::Engine;

/// An open console and the guest behind it.
pub struct GuestConsole {
    console: Box<dyn Console>,
    guest: Arc<dyn Guest>,
    interrupt: Interrupt,
    /// Whether the system has booted and no one else uses the console.
    is_fork: bool,
}

/// Opens the console of a fork.
pub fn console_of_fork(engine: &Engine, fork: &Builder) -> Result<GuestConsole> {
    open(engine, fork.domain(), fork.guest(), true)
}

/// Opens the console of a machine itself, which has to run.
pub fn console_of_machine(engine: &Engine, name: &MachineName) -> Result<GuestConsole> {
    if !engine.existing_now(name)?.is_active() {
        return Err(Error::failed(format!("the machine `{name}` is not running"))
            .hint("a snapshot of it needs no running machine: `snaptree shell MACHINE/SNAPSHOT`"));
    }
    open(engine, name.as_str(), engine.hypervisor.guest(name.as_str())?.into(), false)
}

fn open(engine: &Engine, domain: &str, guest: Arc<dyn Guest>, is_fork: bool) -> Result<GuestConsole> {
    let console = engine.hypervisor.console(domain)?;
    Ok(GuestConsole { console, guest, interrupt: engine.interrupt.clone(), is_fork })
}

/// Waits for the end of a fork whose guest shuts itself down.
pub fn wait_for_shutdown(engine: &Engine, fork: &Builder) -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(60);
    engine.hypervisor.wait_until_gone(fork.domain(), &Stop::after(LIMIT, &engine.interrupt))
}

impl GuestConsole {
    pub fn console(&self) -> &dyn Console {
        &*self.console
    }

    /// Makes the guest print its prompt, unless another user may be working there.
    pub fn greet(&self) -> Result<()> {
        if self.is_fork { self.console.write(b"\r") } else { Ok(()) }
    }

    /// Sets the size of the terminal in the guest, since a serial line cannot transmit it. If the guest's agent does
    /// not answer, the size stays as it is.
    pub fn resize(&self, rows: u16, columns: u16) {
        const LIMIT: Duration = Duration::from_secs(5);
        let Some(device) = self.console.device() else { return };
        let (rows, columns) = (rows.to_string(), columns.to_string());
        let command = Command::argv(["stty", "-F", device, "rows", &rows, "cols", &columns]);
        let _ = self.guest.run(&command, &mut |_, _| {}, &Stop::after(LIMIT, &self.interrupt));
    }
}
