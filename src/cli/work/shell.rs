//! `snaptree shell`.

use clap::Args;

use crate::cli::common::session::Session;
use crate::cli::common::which::which_failed;
use crate::error::Result;
use crate::name::Target;
use crate::tree;
use crate::tree::ForkOptions;
use crate::ui::{End, LeaveKey, Terminal, Ui};

/// Open a terminal in a throw-away fork of a snapshot, or on the console of a running machine
///
/// A fork ends when you leave it. All keys go to the guest, even Ctrl-C; only the leave key does not.
#[derive(Args)]
pub struct Shell {
    /// Leave with this key; written as in virsh, such as ^A for Ctrl-A
    #[arg(short, long, value_name = "KEY", default_value = "^]")]
    escape: LeaveKey,
    /// Open it in the last failed build of that snapshot
    #[arg(long)]
    failed: bool,
    /// MACHINE/SNAPSHOT for a fork, MACHINE for the machine itself
    target: Target,
}

impl Shell {
    pub fn execute(&self, terminal: Terminal, session: Session, ui: &Ui) -> Result<i32> {
        let engine = &session.engine;
        let fork = match &self.target {
            Target::Snapshot(path) if self.failed => Some(tree::fork_failed(engine, path, ForkOptions::default())?),
            Target::Snapshot(path) => Some(tree::fork(engine, path, ForkOptions::default())?),
            Target::Machine(machine) if self.failed => {
                return Err(which_failed(machine));
            }
            Target::Machine(_) => None,
        };
        let place = format!("{}{}", self.target, if self.failed { " (failed)" } else { "" });
        let console = match &fork {
            Some(fork) => tree::console_of_fork(engine, fork)?,
            None => tree::console_of_machine(engine, self.target.machine())?,
        };
        ui.status(&format!("Connected to {place}. The leave key is {}.", self.escape));
        match terminal.attach(console, self.escape, &engine.interrupt)? {
            End::Left => ui.status(&format!("Left {place}.")),
            End::ShutDown => {
                ui.status(&format!("{place} has shut down."));
                fork.as_ref().map_or(Ok(()), |fork| tree::wait_for_shutdown(engine, fork))?;
            }
        }
        Ok(0)
    }
}
