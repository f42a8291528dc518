//! Deletes a whole machine.

use std::path::Path;

use crate::error::{Error, Result};
use crate::name::MachineName;
use crate::shell;
use crate::tree::graft::sweep::{clones, is_wanted};
use crate::tree::machine::engine::Engine;
use crate::tree::machine::seen::Machine;
use crate::tree::owners::discard::{check_nothing_depends, discard, disks_of};

impl Engine {
    /// Describes what deleting a machine would remove.
    pub fn what_delete_removes(&self, name: &MachineName) -> Result<String> {
        let machine = self.existing(name)?;
        check_nothing_depends(self, &machine, to_be_deleted(&machine)?, &going_with(self, &machine)?)?;
        Ok(format!("machine `{name}` with its {} snapshots and their layers", machine.nodes.len()))
    }

    /// Deletes a machine: its domain, its snapshots and its files.
    pub fn delete(&self, name: &MachineName, force: bool) -> Result<()> {
        let machine = self.existing(name)?;
        let directory = to_be_deleted(&machine)?;
        if machine.is_active() && !force {
            return Err(Error::failed(format!("machine `{name}` is running"))
                .hint("shut it down first, or give --force to stop it"));
        }
        let clones = clones(self, &machine)?;
        if let Some(wanted) = clones.iter().find(|clone| is_wanted(self, clone) && !force) {
            return Err(Error::failed(format!("machine `{name}` is in use: `{}` is running", wanted.domain))
                .hint("stop the fork or wait for the other snaptree to end, or give --force to stop it"));
        }
        check_nothing_depends(self, &machine, directory, &going_with(self, &machine)?)?;
        clones.iter().try_for_each(|clone| self.hypervisor.destroy(&clone.domain))?;
        self.claim(name)?;
        let (known, disks) = (machine.made(), disks_of(self, &machine)?);
        self.hypervisor.undefine(name.as_str())?;
        discard(self, directory, &known, &disks)?;
        self.look_again(name)?;
        self.store.release(name);
        Ok(())
    }
}

/// Lists the domains that are stopped when a machine is deleted.
fn going_with(engine: &Engine, machine: &Machine) -> Result<Vec<String>> {
    Ok(clones(engine, machine)?.into_iter().map(|clone| clone.domain).collect())
}

/// Returns the directory of a machine that may be deleted, which has to be one of ours.
fn to_be_deleted(machine: &Machine) -> Result<&Path> {
    let name = &machine.name;
    machine.own_directory().map_err(|_| {
        Error::failed(format!("snaptree did not create the domain `{name}`, and will not delete it")).hint(format!(
            "`snaptree delete {}` deletes a snapshot of it, `virsh undefine {}` the domain",
            shell::last(format!("{name}/SNAPSHOT")),
            shell::last(name)
        ))
    })
}
