//! Puts a snapshot back into a machine's tree.

use std::path::Path;

use crate::error::Result;
use crate::hypervisor::Snapshot;
use crate::name::MachineName;
use crate::tree::kept::undo_log::UndoLog;
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;

/// Puts a snapshot back into a machine's tree, or moves it there. The overlays of a current one become the machine's
/// disks, so its old disks are recorded: they are removed once nothing depends on them.
pub fn redefine(
    engine: &Engine,
    machine: &Machine,
    snapshot: &Snapshot,
    parent: Option<&str>,
    current: bool,
) -> Result<()> {
    if current {
        let undo_log = UndoLog::of(&machine.directory);
        let overlays = snapshot.overlays().filter(|overlay| overlay.exists()).map(Path::to_path_buf);
        undo_log.set_leftovers(&undo_log.leftovers().into_iter().chain(overlays).collect())?;
    }
    engine.hypervisor.redefine_snapshot(machine.name.as_str(), &snapshot.document, parent, current)
}

/// Makes the current snapshot name the machine's disks as its overlays, after libvirt made it the current one.
pub fn mend_current(engine: &Engine, name: &MachineName) -> Result<()> {
    let Some(machine) = engine.look_again(name)? else { return Ok(()) };
    let Some(node) = machine.current() else { return Ok(()) };
    redefine(engine, &machine, &node.snapshot, node.snapshot.parent.as_deref(), true)?;
    engine.look_again(name)?;
    Ok(())
}
