//! `snaptree tree`.

use clap::{Args, ValueEnum};

use crate::cli::common::session::Session;
use crate::error::Result;
use crate::name::MachineName;
use crate::tree;
use crate::ui::Ui;

/// Draw the tree of a machine, or of every machine
#[derive(Args)]
pub struct Tree {
    /// The output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The machine; by default, every domain that has snapshots
    machine: Option<MachineName>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// A drawing like that of `virsh snapshot-list --tree`, with the current snapshot marked
    Text,
    /// One JSON document: a list of machines
    Json,
}

impl Tree {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let trees = tree::trees(&session.engine, self.machine.as_ref())?;
        match self.format {
            Format::Text => ui.trees(&trees, self.machine.is_none())?,
            Format::Json => ui.json(&trees)?,
        }
        Ok(0)
    }
}
