//! Putting a snapshot into a machine's tree again.

use std::path::Path;

use crate::error::Result;
use crate::hypervisor::Snapshot;
use crate::name::MachineName;
use crate::tree::kept::undo_log::UndoLog;
use crate::tree::machine::engine::Engine;
use crate::tree::machine::seen::Machine;

/// Puts a snapshot into a machine's tree again, or moves it there. The overlays of a current one become the machine's
/// disks, so those that it had are written down: they go once nothing stands on them.
pub fn put(engine: &Engine, machine: &Machine, snapshot: &Snapshot, parent: Option<&str>, current: bool) -> Result<()> {
    if current {
        let undo_log = UndoLog::of(&machine.directory);
        let overlays = snapshot.overlays().filter(|overlay| overlay.exists()).map(Path::to_path_buf);
        undo_log.set_leftovers(&undo_log.leftovers().into_iter().chain(overlays).collect())?;
    }
    engine.hypervisor.put_snapshot(machine.name.as_str(), &snapshot.document, parent, current)
}

/// Lets the current snapshot name the machine's disks as its overlays, after libvirt made it the current one.
pub fn mend_current(engine: &Engine, name: &MachineName) -> Result<()> {
    let Some(machine) = engine.look_again(name)? else { return Ok(()) };
    let Some(node) = machine.current() else { return Ok(()) };
    put(engine, &machine, &node.snapshot, node.snapshot.parent.as_deref(), true)?;
    engine.look_again(name)?;
    Ok(())
}
