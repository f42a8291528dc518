//! `snaptree shell` and `snaptree console`.

use clap::Args;

use crate::cli::common::inside::{self, Inside, ThrowAway};
use crate::cli::common::session::Session;
use crate::error::{Error, Result};
use crate::hypervisor::Command;
use crate::name::Target;
use crate::tree;
use crate::tree::{Builder, Engine, GuestConsole};
use crate::ui::{End, LeaveKey, Terminal, Ui};

/// Open a login shell on a terminal of a throw-away fork of a snapshot, or of a running fork or machine
///
/// A fork of a snapshot ends when you leave it. All keys go to the guest, even Ctrl-C; only the leave key does not. A
/// guest that cannot have our program has no such terminal; then this is its serial console.
#[derive(Args)]
pub struct Shell {
    /// Log in as this user of the guest
    #[arg(short, long)]
    user: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Open the serial console of a throw-away fork of a snapshot, or of a running fork or machine
///
/// It needs nothing of the guest, and shows a machine that is booting. A fork of a snapshot ends when you leave it. All
/// keys go to the guest, even Ctrl-C; only the leave key does not.
#[derive(Args)]
pub struct Console {
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
struct Place {
    /// Leave with this key; written as in virsh, such as ^A for Ctrl-A
    #[arg(short, long, value_name = "KEY", default_value = "^]")]
    escape: LeaveKey,
    /// Open it in the last failed build of that snapshot
    #[arg(long)]
    failed: bool,
    /// MACHINE/SNAPSHOT for a throw-away fork; FORK or MACHINE for one that is running
    target: Target,
}

impl Shell {
    pub fn execute(&self, terminal: Terminal, session: Session, ui: &Ui) -> Result<i32> {
        let engine = &session.engine;
        let Inside { fork, guest } = Inside::open(engine, &self.place.target, self.place.failed)?;
        let command = with_terminal_type(tree::login(self.user.as_deref()));
        let console = match tree::open_terminal(engine, &guest, &command, terminal.size())? {
            Ok(console) => console,
            Err(why) if self.user.is_some() => {
                return Err(Error::failed("cannot log in as another user on the serial console").cause(why));
            }
            Err(why) => {
                ui.status(&format!("This is the serial console, since there is no other terminal: {why}."));
                self.place.console(engine, fork.as_deref())?
            }
        };
        self.place.attach(terminal, console, fork, engine, ui)
    }
}

impl Console {
    pub fn execute(&self, terminal: Terminal, session: Session, ui: &Ui) -> Result<i32> {
        let engine = &session.engine;
        let fork = inside::fork(engine, &self.place.target, self.place.failed)?;
        let console = self.place.console(engine, fork.as_deref())?;
        self.place.attach(terminal, console, fork, engine, ui)
    }
}

impl Place {
    fn console(&self, engine: &Engine, fork: Option<&Builder>) -> Result<GuestConsole> {
        match fork {
            Some(fork) => tree::console_of_fork(engine, fork),
            None => tree::console_of_machine(engine, self.target.machine()),
        }
    }

    fn attach(
        &self,
        terminal: Terminal,
        console: GuestConsole,
        fork: Option<ThrowAway>,
        engine: &Engine,
        ui: &Ui,
    ) -> Result<i32> {
        let place = format!("{}{}", self.target, if self.failed { " (failed)" } else { "" });
        ui.status(&format!("Connected to {place}. The leave key is {}.", self.escape));
        match terminal.attach(console, Some(self.escape), &engine.interrupt)? {
            End::Left => ui.status(&format!("Left {place}.")),
            End::Exited(exit) => {
                ui.status(&format!("Left {place}."));
                return Ok(exit.0);
            }
            End::ShutDown => {
                ui.status(&format!("{place} has shut down."));
                fork.as_deref().map_or(Ok(()), |fork| tree::wait_for_shutdown(engine, fork))?;
            }
        }
        Ok(0)
    }
}

/// Tells a command on a terminal of which type ours is.
pub fn with_terminal_type(command: Command) -> Command {
    let name =
        std::env::var("TERM").ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "xterm-256color".to_string());
    let mut command = command;
    command.env.entry("TERM".to_string()).or_insert(name);
    command
}
