//! Removes the debris of killed runs.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::name::MachineName;
use crate::tree::files::draft::Note;
use crate::tree::files::file_id::{FileId, FileSet};
use crate::tree::files::made::{Made, is_of_a_kind};
use crate::tree::files::store::maker;
use crate::tree::graft::prune::{is_orphan, prune};
use crate::tree::machine::clone_mark::CloneMark;
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::owners::collect::{judge, remove_doomed};
use crate::tree::owners::dependents::{Search, dependents};
use crate::tree::owners::discard::discard;

/// A running transient clone.
pub struct RunningClone {
    pub domain: String,
    pub mark: CloneMark,
}

/// Destroys the builders and forks of processes that are gone, removes files that nothing refers to, and finishes
/// changes that were interrupted.
pub fn sweep(engine: &Engine, name: &MachineName) -> Result<()> {
    if engine.is_planning {
        return Ok(());
    }
    let Some(machine) = engine.machine(name)? else {
        let abandoned = engine.store.abandoned(&Note::of(engine.hypervisor.uri(), name));
        let made = |directory: &Path| Made::of(directory).read_in(directory);
        return abandoned.iter().try_for_each(|it| discard(engine, it, &made(it), &FileSet::default()));
    };
    // List these before anything that may refer to them: a process that is gone by now adds no references.
    let debris = engine.store.debris(&machine.directory, &machine.referred());
    for clone in clones(engine, &machine)?.into_iter().filter(|clone| !is_wanted(engine, clone)) {
        engine.hypervisor.destroy(&clone.domain)?;
        engine.events.note(format!("removed `{}`, left by a run that was killed", clone.domain));
    }
    remove_debris(engine, &machine, debris)?;
    if machine.nodes.iter().any(|node| is_orphan(&machine, node)) {
        engine.claim(name)?;
        prune(engine, name)?;
    }
    Ok(())
}

/// Lists the clones that this process runs: the domain of each, and its origin.
pub fn own_clones(engine: &Engine) -> Result<Vec<(String, String)>> {
    let mut own = Vec::new();
    for domain in engine.hypervisor.domains()?.into_iter().filter(|domain| engine.store.is_own(&domain.name)) {
        let metadata = engine.hypervisor.domain(&domain.name)?.and_then(|details| details.metadata);
        if let Some(mark) = metadata.as_ref().and_then(CloneMark::read) {
            own.push((domain.name, format!("{}/{}", mark.machine, mark.node)));
        }
    }
    Ok(own)
}

/// Removes those of the files that nothing depends on.
fn remove_debris(engine: &Engine, machine: &Machine, mut debris: Vec<PathBuf>) -> Result<()> {
    debris.retain(|file| is_of_a_kind(file));
    if debris.is_empty() {
        return Ok(());
    }
    // The kernel that the domain boots is no disk of it. What depends on the rest takes long to find.
    let named = engine.hypervisor.files_named_in(&machine.details.document)?;
    let named: FileSet = named.into_iter().collect();
    debris.retain(|file| !named.contains(file));
    if debris.is_empty() {
        return Ok(());
    }
    let machine = engine.existing_now(&machine.name)?;
    let known = machine.made();
    let search = Search { machine: Some(&machine), candidates: &debris, ..Search::default() };
    let mut verdict = judge(dependents(engine, &search)?, &debris, |file| known.maker_of(file));
    remove_doomed(engine, Some(&machine), &mut verdict).map(drop)
}

/// Returns whether a clone is still in use: the process that made it is alive, or it is a fork that keeps running.
pub fn is_wanted(engine: &Engine, clone: &RunningClone) -> bool {
    // The locks may be in another store, so whether their owners are alive is unknown.
    clone.mark.is_kept
        || is_elsewhere(engine, clone)
        || maker(&clone.domain).is_some_and(|owner| engine.store.is_alive(&owner))
}

/// Returns whether a clone's files are in another store.
pub fn is_elsewhere(engine: &Engine, clone: &RunningClone) -> bool {
    clone.mark.store.as_deref().is_some_and(|store| FileId::of(store) != FileId::of(engine.store.root()))
}

/// Lists the transient clones of a machine.
pub fn clones(engine: &Engine, machine: &Machine) -> Result<Vec<RunningClone>> {
    let mut clones = clones_called(engine, &machine.name.of_clones())?;
    clones.retain(|clone| clone.mark.machine == machine.name.as_str());
    Ok(clones)
}

/// Lists the transient clones of all machines.
pub fn all_clones(engine: &Engine) -> Result<Vec<RunningClone>> {
    clones_called(engine, "")
}

/// Lists the transient clones whose names begin so.
fn clones_called(engine: &Engine, prefix: &str) -> Result<Vec<RunningClone>> {
    let mut clones = Vec::new();
    for domain in engine.hypervisor.domains()? {
        let may_be = !domain.is_persistent && domain.name.starts_with(prefix) && maker(&domain.name).is_some();
        if !may_be {
            continue;
        }
        let metadata = engine.hypervisor.domain(&domain.name)?.and_then(|details| details.metadata);
        if let Some(mark) = metadata.as_ref().and_then(CloneMark::read) {
            clones.push(RunningClone { domain: domain.name, mark });
        }
    }
    Ok(clones)
}
