//! `snaptree undo`.

use clap::Args;

use crate::cli::common::session::Session;
use crate::error::Result;
use crate::name::MachineName;
use crate::ui::Ui;

/// Take back the last revert or deletion of snapshots
///
/// Nothing is asked, since this can be taken back too.
#[derive(Args)]
pub struct Undo {
    /// List what can be taken back, the newest last
    #[arg(long, conflicts_with = "number")]
    list: bool,
    /// With --list: print one JSON document
    #[arg(long, requires = "list")]
    json: bool,
    /// Changes nothing: nothing is asked anyway
    #[arg(short, long)]
    yes: bool,
    /// The machine
    machine: MachineName,
    /// Take this one back, by its number in --list; the newest without it
    number: Option<u64>,
}

impl Undo {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let (engine, machine) = (&session.engine, &self.machine);
        if self.list && self.json {
            ui.json(&engine.undo_entries(machine)?)?;
        } else if self.list {
            ui.undo_entries(&engine.undo_entries(machine)?)?;
        } else {
            let what = engine.undo(machine, self.number)?;
            ui.status(&format!("Took back `{what}` in `{machine}`."));
        }
        Ok(0)
    }
}
