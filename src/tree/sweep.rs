//! Removing: the debris of runs that were killed, and whole machines.

use std::path::{Path, PathBuf};

use super::builder::CloneMark;
use super::chain::is_ram;
use super::draft;
use super::engine::{Engine, Machine};
use super::store::maker;
use crate::error::{Because, Error, Result};
use crate::name::MachineName;
use crate::shell;

/// A transient clone that runs.
pub struct RunningClone {
    pub domain: String,
    pub mark: CloneMark,
}

impl Engine {
    /// Destroys the builders and forks of processes that are gone, removes files that nothing refers to, and
    /// finishes what they left half done.
    pub fn sweep(&self, name: &MachineName) -> Result<()> {
        if self.is_planning {
            return Ok(());
        }
        let Some(machine) = self.machine(name)? else {
            let abandoned = self.store.abandoned(&self.note_of(name));
            return abandoned.iter().try_for_each(|directory| remove_directory(directory));
        };
        // Before anything is listed that may refer to them: who is gone by now refers to nothing new.
        let debris = self.store.debris(&machine.directory, &machine.referred());
        let (wanted, left): (Vec<RunningClone>, _) =
            self.clones(&machine)?.into_iter().partition(|clone| self.is_wanted(clone));
        for clone in left {
            self.hypervisor.destroy(&clone.domain)?;
            self.events.note(format!("removed `{}`, left by a run that was killed", clone.domain));
        }
        self.remove_debris(name, debris, &wanted)?;
        if machine.nodes.iter().any(|node| machine.is_orphan(node)) {
            self.claim(name)?;
            self.prune(name)?;
        }
        Ok(())
    }

    /// Removes those of the files that still nothing refers to.
    fn remove_debris(&self, name: &MachineName, mut debris: Vec<PathBuf>, clones: &[RunningClone]) -> Result<()> {
        debris.retain(|file| {
            is_ram(file) || file.extension().is_some_and(|ending| ending == "qcow2" || ending == draft::ENDING)
        });
        if debris.is_empty() {
            return Ok(());
        }
        let mut referred = self.existing_now(name)?.referred();
        for clone in clones.iter().filter(|clone| clone.mark.is_kept) {
            referred.extend(self.hypervisor.disk_files(&clone.domain)?);
        }
        debris.retain(|file| !referred.contains(file));
        // A layer whose snapshot somebody deleted may still be what another one stands on. Where that cannot be
        // found out, everything stays.
        for image in referred.iter().filter(|image| image.exists()) {
            let Ok(chain) = self.hypervisor.backing_chain(image) else { return Ok(()) };
            debris.retain(|file| !chain.contains(file));
        }
        for file in debris {
            std::fs::remove_file(&file).because(|| format!("cannot remove `{}`", file.display()))?;
        }
        Ok(())
    }

    /// Says whether somebody still wants a clone: the process that made it, or whoever asked for it to stay.
    fn is_wanted(&self, clone: &RunningClone) -> bool {
        clone.mark.is_kept || maker(&clone.domain).is_some_and(|owner| self.store.is_alive(&owner))
    }

    /// Lists the transient clones of a machine.
    pub(super) fn clones(&self, machine: &Machine) -> Result<Vec<RunningClone>> {
        let prefix = machine.name.of_clones();
        let mut clones = Vec::new();
        for domain in self.hypervisor.domains()? {
            let may_be = !domain.is_persistent && domain.name.starts_with(&prefix) && maker(&domain.name).is_some();
            if !may_be {
                continue;
            }
            let metadata = self.hypervisor.domain(&domain.name)?.and_then(|details| details.metadata);
            let mark = metadata.as_ref().and_then(CloneMark::read);
            if let Some(mark) = mark.filter(|mark| mark.machine == machine.name.as_str()) {
                clones.push(RunningClone { domain: domain.name, mark });
            }
        }
        Ok(clones)
    }

    /// Lists the clones that this process runs: the domain of each, and what it is of.
    pub fn own_clones(&self) -> Result<Vec<(String, String)>> {
        let mut own = Vec::new();
        for domain in self.hypervisor.domains()?.into_iter().filter(|domain| self.store.is_own(&domain.name)) {
            let metadata = self.hypervisor.domain(&domain.name)?.and_then(|details| details.metadata);
            if let Some(mark) = metadata.as_ref().and_then(CloneMark::read) {
                own.push((domain.name, format!("{}/{}", mark.machine, mark.node)));
            }
        }
        Ok(own)
    }

    /// Says what deleting a machine would remove.
    pub fn what_delete_removes(&self, name: &MachineName) -> Result<String> {
        let machine = self.existing(name)?;
        machine.to_be_deleted()?;
        Ok(format!("machine `{name}` with its {} snapshots and their layers", machine.nodes.len()))
    }

    /// Deletes a machine: its domain, its snapshots and its files.
    pub fn delete(&self, name: &MachineName, force: bool) -> Result<()> {
        let machine = self.existing(name)?;
        let directory = machine.to_be_deleted()?;
        if machine.is_active() && !force {
            return Err(Error::failed(format!("machine `{name}` is running"))
                .hint("shut it down first, or give --force to stop it"));
        }
        for clone in self.clones(&machine)? {
            if self.is_wanted(&clone) && !force {
                let clone = &clone.domain;
                return Err(Error::failed(format!("machine `{name}` is in use: `{clone}` is running"))
                    .hint("stop the fork or wait for the other snaptree to end, or give --force to stop it"));
            }
            self.hypervisor.destroy(&clone.domain)?;
        }
        self.claim(name)?;
        self.hypervisor.undefine(name.as_str())?;
        remove_directory(directory)?;
        self.look_again(name)?;
        self.store.release(name);
        Ok(())
    }
}

impl Machine {
    /// Returns the directory of a machine that may be deleted: one of ours.
    fn to_be_deleted(&self) -> Result<&Path> {
        let name = &self.name;
        self.own_directory().map_err(|_| {
            Error::failed(format!("snaptree did not make the domain `{name}`, and does not delete it")).hint(format!(
                "`snaptree delete {}` deletes a snapshot of it, `virsh undefine {}` the domain",
                shell::last(format!("{name}/SNAPSHOT")),
                shell::last(name)
            ))
        })
    }
}

fn remove_directory(directory: &Path) -> Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::failed(format!("cannot remove `{}`", directory.display())).cause(cause))
        }
        _ => Ok(()),
    }
}
