//! `snaptree stop`.

use clap::Args;

use crate::cli::common::session::Session;
use crate::error::Result;
use crate::name::MachineName;
use crate::tree;
use crate::ui::Ui;

/// Stop forks that `snaptree fork` started, and delete their disks
#[derive(Args)]
pub struct Stop {
    /// A fork's name, or a machine to stop all of its forks
    #[arg(required = true, value_name = "FORK")]
    names: Vec<MachineName>,
}

impl Stop {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        for name in &self.names {
            let stopped = tree::stop_forks(&session.engine, name)?;
            if stopped.is_empty() {
                ui.status(&format!("There is no fork of `{name}`."));
            }
            for fork in stopped {
                ui.status(&format!("Stopped {fork}."));
            }
        }
        Ok(0)
    }
}
