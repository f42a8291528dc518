//! `snaptree shell`.

use clap::Args;

use super::session::Session;
use crate::error::Result;
use crate::name::Target;
use crate::ui::{End, LeaveKey, Terminal, Ui};

/// Open a terminal in a throw-away fork of a snapshot, or on the console of a running machine
///
/// A fork is gone when one leaves it. Ctrl-C and all other keys go to the guest, but for the one that leaves.
#[derive(Args)]
pub struct Shell {
    /// Leave with this key; written as in virsh, such as ^A for Ctrl-A
    #[arg(short, long, value_name = "KEY", default_value = "^]")]
    escape: LeaveKey,
    /// MACHINE/SNAPSHOT for a fork, MACHINE for the machine itself
    target: Target,
}

impl Shell {
    pub fn execute(&self, terminal: Terminal, session: Session, ui: &Ui) -> Result<i32> {
        let engine = &session.engine;
        let fork = match &self.target {
            Target::Snapshot(path) => Some(engine.fork(path)?),
            Target::Machine(_) => None,
        };
        let seat = match &fork {
            Some(fork) => engine.sit_in(fork)?,
            None => engine.sit_at(self.target.machine())?,
        };
        ui.status(&format!("Connected to {}. The leave key is {}.", self.target, self.escape));
        match terminal.sit(seat, self.escape, &engine.interrupt)? {
            End::Left => ui.status(&format!("Left {}.", self.target)),
            End::ShutDown => {
                ui.status(&format!("{} has shut down.", self.target));
                fork.as_ref().map_or(Ok(()), |fork| engine.see_off(fork))?;
            }
        }
        Ok(0)
    }
}
