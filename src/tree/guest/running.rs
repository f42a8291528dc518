//! The system of something that runs: a fork, or a machine itself.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::hypervisor::{DomainState, Guest, Ports};
use crate::name::MachineName;
use crate::shell;
use crate::tree::machine::clone_mark::CloneMark;
use crate::tree::machine::engine::Engine;

/// Opens the system inside a running domain: a fork by its name, or a machine.
pub fn running_guest(engine: &Engine, name: &MachineName) -> Result<Arc<dyn Guest>> {
    let Some(details) = engine.hypervisor.domain(name.as_str())? else {
        // As for a machine, with what it may have been meant to be.
        engine.existing_now(name)?;
        return Err(Error::failed(format!("`{name}` is gone")));
    };
    match details.domain.state {
        DomainState::Running => {
            if details.metadata.as_ref().and_then(CloneMark::read).is_some_and(|mark| mark.is_kept) {
                // Several processes may work in it at once; without an attendant, only one has the fast way.
                let _ = engine.hypervisor.start_attendant(name.as_str(), &Ports::default());
            }
            Ok(engine.hypervisor.guest(name.as_str())?.into())
        }
        DomainState::Paused => Err(Error::failed(format!("`{name}` is paused"))
            .hint(format!("resume it first: `virsh resume {}`", shell::last(name)))),
        _ => Err(not_running(name)),
    }
}

/// Refuses what needs a running machine.
pub fn not_running(name: &MachineName) -> Error {
    Error::failed(format!("`{name}` is not running")).hint(format!(
        "start it with `virsh start {}`, or name a snapshot, as in {}",
        shell::last(name),
        shell::word(&format!("{name}/SNAPSHOT"))
    ))
}
