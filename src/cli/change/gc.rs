//! `snaptree gc`.

use clap::Args;

use crate::cli::common::confirm::confirm;
use crate::cli::common::session::Session;
use crate::count::counted;
use crate::error::{Error, Result};
use crate::name::MachineName;
use crate::tree;
use crate::tree::{Engine, GcPreview};
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
        let (mut doomed, mut failed) = (Vec::new(), Vec::new());
        for name in &names {
            match tree::preview_gc(engine, name) {
                Ok(preview) => doomed.extend(what(name, &preview).map(|what| (name, what))),
                Err(error) => failed.push((name, error)),
            }
        }
        if !doomed.is_empty() {
            let all: Vec<&str> = doomed.iter().map(|(_, what)| what.as_str()).collect();
            confirm(ui, &format!("delete {}", all.join(", ")), self.yes)?;
        }
        let mut is_idle = doomed.is_empty();
        for name in &names {
            if failed.iter().any(|(it, _)| *it == name) {
                continue;
            }
            let is_doomed = doomed.iter().any(|(it, _)| *it == name);
            // Leftovers were discarded before, so no confirmation is needed.
            match if is_doomed { tree::gc(engine, name) } else { tree::collect_leftovers(engine, name) } {
                Ok(collected) if is_doomed || !collected.removed.is_empty() || !collected.left.is_empty() => {
                    ui.collected(name, &collected);
                    is_idle = false;
                }
                Ok(_) => {}
                Err(error) => failed.push((name, error)),
            }
        }
        let failures = failed.into_iter().filter(|(name, _)| self.machine.is_some() || is_defined(engine, name));
        if let Some(error) = Error::together(failures.map(|(_, error)| error).collect()) {
            return Err(error);
        }
        if is_idle {
            ui.status("There is nothing to delete.");
        }
        Ok(0)
    }
}

/// Describes what would be deleted, if anything.
fn what(name: &MachineName, preview: &GcPreview) -> Option<String> {
    let &GcPreview { changes, superseded, failed, checkpointed } = preview;
    let branches = counted(checkpointed, "branch", "branches");
    let parts = [
        (changes, format!("{} of `{name}` that `undo` could undo", counted(changes, "change", "changes"))),
        (superseded, format!("{} of `{name}`", counted(superseded, "superseded snapshot", "superseded snapshots"))),
        (failed, format!("{} of `{name}`", counted(failed, "failed branch", "failed branches"))),
        (checkpointed, format!("the checkpoints of {branches} of `{name}`")),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|(count, _)| *count > 0).map(|(_, part)| part).collect();
    (!parts.is_empty()).then(|| parts.join(" and "))
}

/// Says whether there is still such a machine: another program may undefine one while others are collected.
fn is_defined(engine: &Engine, name: &MachineName) -> bool {
    !matches!(engine.look_again(name), Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_told_in_the_singular_and_nothing_not_at_all() {
        let lab = MachineName::existing("lab").expect("a name");
        let told = |changes, superseded, failed, checkpointed| {
            what(&lab, &GcPreview { changes, superseded, failed, checkpointed })
        };
        assert_eq!(told(0, 0, 0, 0), None);
        assert_eq!(
            told(1, 1, 1, 1).as_deref(),
            Some(
                "1 change of `lab` that `undo` could undo and 1 superseded snapshot of `lab` and 1 failed branch of \
                 `lab` and the checkpoints of 1 branch of `lab`"
            )
        );
        assert_eq!(
            told(2, 2, 0, 2).as_deref(),
            Some(
                "2 changes of `lab` that `undo` could undo and 2 superseded snapshots of `lab` and the checkpoints of \
                 2 branches of `lab`"
            )
        );
    }
}
