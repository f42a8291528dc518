//! Interactive consoles: a fork's, or a running machine's own.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Kind, Result};
use crate::hypervisor::{Command, Console, Guest};
use crate::name::MachineName;
use crate::stop::{Interrupt, Stop};
use crate::tree::clone::builder::Builder;
use crate::tree::guest::running::not_running;
use crate::tree::machine::engine::Engine;

/// An open console or terminal, and the guest behind it.
pub struct GuestConsole {
    console: Box<dyn Console>,
    guest: Arc<dyn Guest>,
    interrupt: Interrupt,
    /// Whether the system waits for a key to print its prompt, and no other user is there.
    wants_key: bool,
}

const LOGIN: &str = include_str!("login.sh");

/// Opens the console of a fork.
pub fn console_of_fork(engine: &Engine, fork: &Builder) -> Result<GuestConsole> {
    open(engine, fork.domain(), fork.guest(), true)
}

/// Opens the console of a machine itself, which has to run.
pub fn console_of_machine(engine: &Engine, name: &MachineName) -> Result<GuestConsole> {
    if !engine.existing_now(name)?.is_active() {
        return Err(not_running(name));
    }
    open(engine, name.as_str(), engine.hypervisor.guest(name.as_str())?.into(), false)
}

fn open(engine: &Engine, domain: &str, guest: Arc<dyn Guest>, wants_key: bool) -> Result<GuestConsole> {
    let console = engine.hypervisor.console(domain)?;
    Ok(GuestConsole { console, guest, interrupt: engine.interrupt.clone(), wants_key })
}

/// Returns the command of a login shell: of root, or of another user.
pub fn login(user: Option<&str>) -> Command {
    Command::argv(["/bin/sh", "-c", LOGIN, "login", user.unwrap_or("root")])
}

/// Runs a command on a terminal of the guest; says why not, if that can have none.
pub fn open_terminal(
    engine: &Engine,
    guest: &Arc<dyn Guest>,
    command: &Command,
    (rows, columns): (u16, u16),
) -> Result<Result<GuestConsole, String>> {
    /// How long a guest that has not finished booting is waited for.
    const LIMIT: Duration = Duration::from_secs(20);
    let opened = match guest.terminal(command, rows, columns, &Stop::after(LIMIT, &engine.interrupt)) {
        Err(error) if error.kind == Kind::Timeout => Err(error.message),
        opened => opened?,
    };
    let interrupt = engine.interrupt.clone();
    Ok(opened.map(|console| GuestConsole { console, guest: Arc::clone(guest), interrupt, wants_key: false }))
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
        if self.wants_key { self.console.write(b"\r") } else { Ok(()) }
    }

    /// Sets the size of the terminal in the guest, since a serial line cannot transmit it. If the guest's agent does
    /// not answer, the size stays as it is.
    pub fn resize(&self, rows: u16, columns: u16) {
        const LIMIT: Duration = Duration::from_secs(5);
        if self.console.resize(rows, columns) {
            return;
        }
        let Some(device) = self.console.device() else { return };
        let (rows, columns) = (rows.to_string(), columns.to_string());
        let command = Command::argv(["stty", "-F", device, "rows", &rows, "cols", &columns]);
        let _ = self.guest.run(&command, &mut |_, _| {}, &Stop::after(LIMIT, &self.interrupt));
    }
}
