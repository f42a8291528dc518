//! `snaptree doctor`.

use clap::Args;

use crate::cli::common::session::Session;
use crate::error::Result;
use crate::tree;
use crate::ui::Ui;

/// Check this host and explain what limits it
#[derive(Args)]
pub struct Doctor {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let checkup = tree::checkup(&session.engine)?;
        if self.json {
            ui.json(&checkup)?
        } else {
            ui.checkup(&checkup)?
        }
        Ok(0)
    }
}
