//! `snaptree delete`.

use clap::Args;

use crate::cli::common::confirm::confirm;
use crate::cli::common::session::Session;
use crate::cli::common::which::{Which, which_snapshot};
use crate::error::{Error, Result};
use crate::name::{MachineName, SnapshotName, SnapshotPath, Target};
use crate::tree;
use crate::tree::Scope;
use crate::ui::Ui;

/// Delete snapshots, or a machine with all its snapshots, layers and files
///
/// MACHINE/SNAPSHOT deletes the snapshot, MACHINE the machine. `undo` restores snapshots, but not machines.
#[derive(Args)]
pub struct Delete {
    /// Delete the snapshot and all below it; by default, its children move to its parent
    #[arg(long, conflicts_with = "children_only")]
    children: bool,
    /// Delete all that is below the snapshot, but keep the snapshot itself
    #[arg(long)]
    children_only: bool,
    /// Remove the snapshot from libvirt's metadata only, and leave its files alone
    #[arg(long)]
    metadata: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
    /// With a machine: first stop it, and other commands that use it
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    which: Which,
}

impl Delete {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        match self.which.target(&session.engine)? {
            Target::Machine(machine) => self.machine(&machine, &session, ui)?,
            Target::Snapshot(path) => self.snapshots(&path, &session, ui)?,
        }
        Ok(0)
    }

    fn machine(&self, machine: &MachineName, session: &Session, ui: &Ui) -> Result<()> {
        let of_snapshots =
            [(self.children, "--children"), (self.children_only, "--children-only"), (self.metadata, "--metadata")];
        if let Some((_, option)) = of_snapshots.into_iter().find(|(is_given, _)| *is_given) {
            return Err(Error::usage(format!("`{machine}` names a machine, and {option} is for a snapshot"))
                .hint(which_snapshot(machine)));
        }
        let what = with_snapshots(machine, tree::preview_delete(&session.engine, machine)?);
        confirm(ui, &format!("delete {what}"), self.yes)?;
        tree::delete(&session.engine, machine, self.force)?;
        ui.status(&format!("Deleted {what}."));
        Ok(())
    }

    fn snapshots(&self, path: &SnapshotPath, session: &Session, ui: &Ui) -> Result<()> {
        if self.force {
            return Err(Error::usage(format!("`{path}` names a snapshot, and --force is for a machine"))
                .hint("omit --force: `snaptree undo` can restore a deleted snapshot"));
        }
        let scope = self.scope();
        let doomed = tree::preview_erase(&session.engine, path, scope)?;
        confirm(ui, &format!("delete {}", self.what(&path.machine, &doomed)), self.yes)?;
        let deleted = tree::erase(&session.engine, path, scope, self.metadata)?;
        ui.status(&report(&path.machine, &deleted));
        Ok(())
    }

    fn what(&self, machine: &MachineName, doomed: &[SnapshotName]) -> String {
        let of = if self.metadata { "the metadata of " } else { "" };
        match doomed {
            [one] => format!("{of}snapshot `{one}` of `{machine}`"),
            many => format!("{of}{} snapshots, {}, of `{machine}`", many.len(), quoted(many)),
        }
    }

    fn scope(&self) -> Scope {
        match (self.children, self.children_only) {
            (true, _) => Scope::WithChildren,
            (false, true) => Scope::ChildrenOnly,
            (false, false) => Scope::One,
        }
    }
}

fn report(machine: &MachineName, deleted: &[SnapshotName]) -> String {
    match deleted {
        [] => format!("There was nothing to delete in `{machine}`."),
        [one] => format!("Deleted snapshot `{one}` of `{machine}`."),
        many => format!("Deleted {} snapshots of `{machine}`: {}.", many.len(), quoted(many)),
    }
}

fn quoted(names: &[SnapshotName]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn with_snapshots(machine: &MachineName, count: usize) -> String {
    match count {
        0 => format!("machine `{machine}`, which has no snapshots"),
        1 => format!("machine `{machine}` with its snapshot and the layers of that"),
        many => format!("machine `{machine}` with its {many} snapshots and their layers"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_named_with_as_many_snapshots_as_it_has() {
        let lab = MachineName::existing("lab").expect("a name");
        assert_eq!(
            [0, 1, 2].map(|count| with_snapshots(&lab, count)),
            [
                "machine `lab`, which has no snapshots",
                "machine `lab` with its snapshot and the layers of that",
                "machine `lab` with its 2 snapshots and their layers",
            ]
        );
    }
}
