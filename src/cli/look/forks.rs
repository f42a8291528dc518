//! `snaptree forks`.

use clap::Args;

use crate::cli::common::session::Session;
use crate::error::Result;
use crate::name::MachineName;
use crate::tree;
use crate::ui::Ui;

/// List the running forks of a machine, or of all machines
#[derive(Args)]
pub struct Forks {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Print only the names, one per line
    #[arg(long, conflicts_with = "json")]
    name: bool,
    /// List the forks of this machine
    machine: Option<MachineName>,
}

impl Forks {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let forks = tree::forks(&session.engine, self.machine.as_ref())?;
        match self {
            Self { json: true, .. } => ui.json(&forks),
            Self { name: true, .. } => ui.names(forks.iter().map(|fork| fork.name.as_str())),
            _ => ui.forks(&forks),
        }?;
        Ok(0)
    }
}
