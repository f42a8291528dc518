//! `snaptree delete`.

use clap::Args;

use super::confirm;
use super::session::Session;
use crate::error::Result;
use crate::name::MachineName;
use crate::ui::Ui;

/// Delete a machine with all its snapshots, layers and files
#[derive(Args)]
pub struct Delete {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Stop the machine, and what others are doing with it, first
    #[arg(short, long)]
    force: bool,
    /// The machine
    machine: MachineName,
}

impl Delete {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let what = session.engine.what_delete_removes(&self.machine)?;
        confirm(ui, &what, self.yes)?;
        session.engine.delete(&self.machine, self.force)?;
        ui.status(&format!("Deleted {what}."));
        Ok(0)
    }
}
