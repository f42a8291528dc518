//! Deletes a whole machine.

use std::path::Path;

use crate::error::{Error, Result};
use crate::name::MachineName;
use crate::shell;
use crate::tree::graft::sweep::{clones, is_wanted};
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::owners::discard::{check_nothing_depends, discard, disks_of};

/// Counts the snapshots that would be deleted with a machine, if it can be deleted.
pub fn preview_delete(engine: &Engine, name: &MachineName) -> Result<usize> {
    let machine = engine.existing(name)?;
    check_nothing_depends(engine, &machine, to_be_deleted(&machine)?, &going_with(engine, &machine)?)?;
    Ok(machine.nodes.len())
}

/// Deletes a machine: its domain, its snapshots and its files.
pub fn delete(engine: &Engine, name: &MachineName, force: bool) -> Result<()> {
    let machine = engine.existing(name)?;
    let directory = to_be_deleted(&machine)?;
    if machine.is_active() && !force {
        return Err(Error::failed(format!("machine `{name}` is running"))
            .hint("shut it down first, or give --force to stop it"));
    }
    let clones = clones(engine, &machine)?;
    if let Some(wanted) = clones.iter().find(|clone| is_wanted(engine, clone) && !force) {
        return Err(Error::failed(format!("machine `{name}` is in use: `{}` is running", wanted.domain))
            .hint("stop the fork or wait for the other snaptree to end, or give --force to stop it"));
    }
    check_nothing_depends(engine, &machine, directory, &going_with(engine, &machine)?)?;
    clones.iter().try_for_each(|clone| engine.hypervisor.destroy(&clone.domain))?;
    engine.claim(name)?;
    let (known, disks) = (machine.made(), disks_of(engine, &machine)?);
    engine.hypervisor.undefine(name.as_str())?;
    discard(engine, directory, &known, &disks)?;
    engine.look_again(name)?;
    engine.store.release(name);
    Ok(())
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
