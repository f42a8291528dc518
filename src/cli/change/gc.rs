//! `snaptree gc`.

use clap::Args;

use crate::cli::common::confirm::confirm;
use crate::cli::common::session::Session;
use crate::error::Result;
use crate::name::MachineName;
use crate::ui::Ui;

/// Free disk space: delete undo history, superseded snapshots, failed branches and checkpoints
#[derive(Args)]
pub struct Gc {
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
    /// The machine; by default, every machine
    machine: Option<MachineName>,
}

impl Gc {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let engine = &session.engine;
        let names = match &self.machine {
            Some(machine) => vec![machine.clone()],
            None => engine.names()?,
        };
        let mut doomed = Vec::new();
        for name in &names {
            doomed.extend(engine.what_gc_removes(name)?.map(|what| (name, what)));
        }
        if !doomed.is_empty() {
            let all: Vec<&str> = doomed.iter().map(|(_, what)| what.as_str()).collect();
            confirm(ui, &format!("delete {}", all.join(", ")), self.yes)?;
        }
        let mut is_idle = doomed.is_empty();
        for name in &names {
            if doomed.iter().any(|(it, _)| *it == name) {
                ui.collected(name, &engine.gc(name)?);
                continue;
            }
            // These files were discarded before, so no confirmation is needed.
            let collected = engine.collect_leftovers(name)?;
            if !collected.removed.is_empty() || !collected.left.is_empty() {
                ui.collected(name, &collected);
                is_idle = false;
            }
        }
        if is_idle {
            ui.status("There is nothing to delete.");
        }
        Ok(0)
    }
}
