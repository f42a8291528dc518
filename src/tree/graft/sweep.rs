//! Removing: the debris of runs that were killed, and whole machines.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::name::MachineName;
use crate::shell;
use crate::tree::files::file_id::{FileId, FileSet};
use crate::tree::files::made::{Made, is_of_a_kind};
use crate::tree::files::store::maker;
use crate::tree::machine::clone_mark::CloneMark;
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::owners::dependents::Scope;

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
            let made = |directory: &Path| Made::of(directory).read_in(directory);
            return abandoned.iter().try_for_each(|it| self.discard(it, &made(it), &FileSet::default()));
        };
        // Before anything is listed that may refer to them: who is gone by now refers to nothing new.
        let debris = self.store.debris(&machine.directory, &machine.referred());
        for clone in self.clones(&machine)?.into_iter().filter(|clone| !self.is_wanted(clone)) {
            self.hypervisor.destroy(&clone.domain)?;
            self.events.note(format!("removed `{}`, left by a run that was killed", clone.domain));
        }
        self.remove_debris(name, debris)?;
        if machine.nodes.iter().any(|node| machine.is_orphan(node)) {
            self.claim(name)?;
            self.prune(name)?;
        }
        Ok(())
    }

    /// Removes those of the files that nothing depends on.
    fn remove_debris(&self, name: &MachineName, mut debris: Vec<PathBuf>) -> Result<()> {
        debris.retain(|file| is_of_a_kind(file));
        if debris.is_empty() {
            return Ok(());
        }
        let machine = self.existing_now(name)?;
        let known = machine.made();
        let scope = Scope { machine: Some(&machine), candidates: &debris, ..Scope::default() };
        let mut verdict = self.dependents(&scope)?.judge(&debris, |file| known.maker_of(file));
        self.remove_doomed(Some(&machine), &mut verdict).map(drop)
    }

    /// Says whether somebody still wants a clone: the process that made it, or whoever asked for it to stay.
    fn is_wanted(&self, clone: &RunningClone) -> bool {
        // Where another store is, nobody here can tell who lives.
        let is_elsewhere =
            clone.mark.store.as_deref().is_some_and(|store| FileId::of(store) != FileId::of(self.store.root()));
        clone.mark.is_kept || is_elsewhere || maker(&clone.domain).is_some_and(|owner| self.store.is_alive(&owner))
    }

    /// Lists the transient clones of a machine.
    pub(in crate::tree) fn clones(&self, machine: &Machine) -> Result<Vec<RunningClone>> {
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
        self.check_nothing_depends(&machine, machine.to_be_deleted()?, &self.going_with(&machine)?)?;
        Ok(format!("machine `{name}` with its {} snapshots and their layers", machine.nodes.len()))
    }

    /// Lists the domains that are stopped when a machine is deleted.
    fn going_with(&self, machine: &Machine) -> Result<Vec<String>> {
        Ok(self.clones(machine)?.into_iter().map(|clone| clone.domain).collect())
    }

    /// Deletes a machine: its domain, its snapshots and its files.
    pub fn delete(&self, name: &MachineName, force: bool) -> Result<()> {
        let machine = self.existing(name)?;
        let directory = machine.to_be_deleted()?;
        if machine.is_active() && !force {
            return Err(Error::failed(format!("machine `{name}` is running"))
                .hint("shut it down first, or give --force to stop it"));
        }
        let clones = self.clones(&machine)?;
        if let Some(wanted) = clones.iter().find(|clone| self.is_wanted(clone) && !force) {
            return Err(Error::failed(format!("machine `{name}` is in use: `{}` is running", wanted.domain))
                .hint("stop the fork or wait for the other snaptree to end, or give --force to stop it"));
        }
        self.check_nothing_depends(&machine, directory, &self.going_with(&machine)?)?;
        clones.iter().try_for_each(|clone| self.hypervisor.destroy(&clone.domain))?;
        self.claim(name)?;
        let (known, disks) = (machine.made(), self.disks_of(&machine)?);
        self.hypervisor.undefine(name.as_str())?;
        self.discard(directory, &known, &disks)?;
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
