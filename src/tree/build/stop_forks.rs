//! Ending forks that keep running.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::now;
use crate::error::{Error, Result};
use crate::name::MachineName;
use crate::tree::graft::sweep::{RunningClone, all_clones, clones, is_elsewhere, sweep};
use crate::tree::machine::clone_mark::CloneMark;
use crate::tree::machine::engine::Engine;

/// What became of forks that were to be stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// The names of those that were stopped.
    pub forks: Vec<String>,
    /// The names of those whose age is unknown, and which were therefore left running.
    pub ageless: Vec<String>,
}

/// Stops forks that keep running: one by the name of its domain, or all of a machine; only those that run for longer
/// than `older_than`, if that is given.
pub fn stop_forks(engine: &Engine, name: &MachineName, older_than: Option<Duration>) -> Result<Stopped> {
    let details = engine.hypervisor.domain(name.as_str())?;
    let mark = details.and_then(|details| CloneMark::read(&details.metadata?));
    let machine = match &mark {
        Some(mark) => MachineName::existing(mark.machine.clone())?,
        None => name.clone(),
    };
    let mut meant = clones(engine, &*engine.existing_now(&machine)?)?;
    meant.retain(|clone| if mark.is_some() { clone.domain == name.as_str() } else { clone.mark.is_kept });
    if meant.iter().any(|clone| !clone.mark.is_kept) {
        return Err(
            Error::failed(format!("`{name}` belongs to a running snaptree")).hint("it stops when that process ends")
        );
    }
    stop(engine, meant, older_than)
}

/// Stops the forks of all machines that keep running and whose disks are in this store.
pub fn stop_all_forks(engine: &Engine, older_than: Option<Duration>) -> Result<Stopped> {
    let mut meant = all_clones(engine)?;
    meant.retain(|clone| clone.mark.is_kept && !is_elsewhere(engine, clone));
    stop(engine, meant, older_than)
}

fn stop(engine: &Engine, meant: Vec<RunningClone>, older_than: Option<Duration>) -> Result<Stopped> {
    let mut stopped = Stopped::default();
    let mut machines = BTreeSet::new();
    for clone in meant {
        match (older_than, clone.mark.since) {
            (Some(_), None) => stopped.ageless.push(clone.domain),
            (Some(age), Some(since)) if now().saturating_sub(since) < age.as_secs() => {}
            _ => {
                engine.hypervisor.destroy(&clone.domain)?;
                machines.insert(MachineName::existing(clone.mark.machine)?);
                stopped.forks.push(clone.domain);
            }
        }
    }
    machines.iter().try_for_each(|machine| sweep(engine, machine))?;
    Ok(stopped)
}
