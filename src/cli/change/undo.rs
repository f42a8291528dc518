//! `snaptree undo`.

use clap::Args;

use crate::cli::common::session::Session;
use crate::error::Result;
use crate::name::MachineName;
use crate::tree;
use crate::ui::Ui;

/// Undo the last revert or deletion of snapshots
///
/// It never asks for confirmation, since it can be undone too.
#[derive(Args)]
pub struct Undo {
    /// List what can be undone, the newest last
    #[arg(long, conflicts_with = "number")]
    list: bool,
    /// With --list: print one JSON document
    #[arg(long, requires = "list")]
    json: bool,
    /// Accepted for consistency; undo never asks
    #[arg(short, long)]
    yes: bool,
    /// The machine
    machine: MachineName,
    /// Undo this entry of --list; by default, the newest
    number: Option<u64>,
}

impl Undo {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let (engine, machine) = (&session.engine, &self.machine);
        if self.list && self.json {
            ui.json(&tree::undo_entries(engine, machine)?)?;
        } else if self.list {
            ui.undo_entries(&tree::undo_entries(engine, machine)?)?;
        } else {
            let what = tree::undo(engine, machine, self.number)?;
            ui.status(&format!("Undid `{what}` in `{machine}`."));
        }
        Ok(0)
    }
}
