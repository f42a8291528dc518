//! How the command line names a snapshot: by its path, or as the current one of its machine.

use clap::Args;

use crate::error::{Error, Result};
use crate::name::{MachineName, SnapshotName, SnapshotPath, Target};
use crate::shell;
use crate::tree::Engine;

#[derive(Args)]
pub struct Which {
    /// Use the machine's current snapshot
    #[arg(long)]
    current: bool,
    /// MACHINE/SNAPSHOT; with --current only MACHINE
    #[arg(value_name = "MACHINE[/SNAPSHOT]")]
    target: Target,
}

impl Which {
    /// Returns the named snapshot, or the machine if no snapshot is named.
    pub fn target(&self, engine: &Engine) -> Result<Target> {
        match (&self.target, self.current) {
            (Target::Machine(machine), true) => current(engine, machine).map(Target::Snapshot),
            (Target::Snapshot(path), true) => Err(Error::usage(format!("`{path}` names a snapshot already"))
                .hint(format!("give either the snapshot or --current: `--current {}`", shell::last(&path.machine)))),
            (target, false) => Ok(target.clone()),
        }
    }

    /// Returns the named snapshot; fails if only a machine is named.
    pub fn snapshot(&self, engine: &Engine) -> Result<SnapshotPath> {
        match self.target(engine)? {
            Target::Snapshot(path) => Ok(path),
            Target::Machine(machine) => {
                Err(Error::usage(format!("`{machine}` names no snapshot")).hint(which_snapshot(&machine)))
            }
        }
    }
}

/// Says how to name a snapshot of a machine.
pub fn which_snapshot(machine: &MachineName) -> String {
    format!("write {}, or give --current for its current one", shell::last(format!("{machine}/SNAPSHOT")))
}

/// Refuses `--failed` without a snapshot.
pub fn which_failed(machine: &MachineName) -> Error {
    Error::usage(format!("`{machine}` names no snapshot")).hint(format!(
        "write {}; `snaptree info {}` lists what failed",
        shell::last(format!("{machine}/SNAPSHOT")),
        shell::last(machine)
    ))
}

/// Returns a machine's current snapshot; fails if there is none.
pub fn current(engine: &Engine, machine: &MachineName) -> Result<SnapshotPath> {
    let seen = engine.existing_now(machine)?;
    let Some(node) = seen.current() else {
        return Err(Error::failed(format!("machine `{machine}` has no current snapshot"))
            .hint(format!("`snaptree list {}` lists the ones that it has", shell::last(machine))));
    };
    Ok(SnapshotPath { machine: machine.clone(), snapshot: SnapshotName::existing(node.name())? })
}
