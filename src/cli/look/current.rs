//! `snaptree current`.

use clap::Args;

use crate::cli::common::session::Session;
use crate::cli::common::which;
use crate::error::Result;
use crate::name::MachineName;
use crate::tree;
use crate::ui::Ui;

/// Print the name of a machine's current snapshot
#[derive(Args)]
pub struct Current {
    /// Print what `info` shows as one JSON document
    #[arg(long)]
    json: bool,
    /// Print its XML
    #[arg(long, conflicts_with = "json")]
    xml: bool,
    /// The machine
    machine: MachineName,
}

impl Current {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let path = which::current(&session.engine, &self.machine)?;
        if self.json {
            ui.json(&tree::snapshot_info(&session.engine, &path)?)?;
        } else if self.xml {
            ui.text(&tree::snapshot_xml(&session.engine, &path)?)?;
        } else {
            ui.text(path.snapshot.as_str())?;
        }
        Ok(0)
    }
}
