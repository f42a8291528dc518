//! Deletes snapshots: their metadata only, which `undo` can put back. Their files are removed once that is forgotten
//! and nothing depends on them.

use crate::error::{Error, Result};
use crate::name::{SnapshotName, SnapshotPath};
use crate::tree::change::preflight;
use crate::tree::change::transaction::{remember, remembered, to_be_changed_if};
use crate::tree::graft::redefine::{mend_current, redefine};
use crate::tree::kept::change_name::ChangeName;
use crate::tree::kept::undo_log::{Deleted, Kept, UndoLog, Unfinished};
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::record::node::Node;

/// Which snapshots to delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The snapshot itself; its children move to its parent.
    #[default]
    One,
    /// The snapshot and all below it.
    WithChildren,
    /// All below it.
    ChildrenOnly,
}

/// Lists the snapshots that would be deleted.
pub fn preview_erase(engine: &Engine, path: &SnapshotPath, scope: Scope) -> Result<Vec<SnapshotName>> {
    let machine = engine.existing_now(&path.machine)?;
    doomed(&machine, &path.snapshot, scope)?.iter().map(|node| node.name().parse()).collect()
}

/// Deletes snapshots. Their files stay until the undo history forgets them, or forever if only the metadata is
/// deleted. Returns their names.
pub fn erase(engine: &Engine, path: &SnapshotPath, scope: Scope, metadata_only: bool) -> Result<Vec<SnapshotName>> {
    let (machine, ()) = to_be_changed_if(engine, &path.machine, |machine| {
        preflight::redefine(engine)?;
        doomed(machine, &path.snapshot, scope).map(drop)
    })?;
    let doomed = doomed(&machine, &path.snapshot, scope)?;
    let deleted = doomed.iter().map(|node| node.name().parse()).collect::<Result<_>>()?;
    let what = ChangeName::new(format!("delete {}", plain_names(&doomed)));
    remove(engine, &machine, what, doomed, metadata_only)?;
    engine.changed(&path.machine);
    Ok(deleted)
}

/// Removes nodes, given parents first, from a machine's tree.
pub fn remove(
    engine: &Engine,
    machine: &Machine,
    what: ChangeName,
    doomed: Vec<&Node>,
    metadata_only: bool,
) -> Result<()> {
    let is_doomed = |name: &str| doomed.iter().any(|node| node.name() == name);
    let moved = machine.nodes.iter().filter(|node| !is_doomed(node.name())).filter_map(|node| {
        let parent = node.snapshot.parent.clone().filter(|parent| is_doomed(parent))?;
        Some((node.name().to_string(), parent))
    });
    let snapshots = doomed.iter().map(|node| node.snapshot.clone()).collect();
    let kept = Kept::Deleted(Deleted { snapshots, moved: moved.collect(), metadata_only });
    let entry = remember(engine, machine, what, kept, Unfinished::default())?;
    for (gone, node) in doomed.iter().rev().enumerate() {
        let deleted = engine.hypervisor.delete_snapshot_metadata(machine.name.as_str(), node.name());
        if let Err(error) = deleted {
            let first = doomed.len() - gone;
            doomed[first..].iter().try_for_each(|node| redefine_as_before(engine, machine, node))?;
            UndoLog::of(&machine.directory).remove(&entry)?;
            return Err(error);
        }
    }
    if doomed.iter().any(|node| node.snapshot.is_current) {
        mend_current(engine, &machine.name)?;
    }
    remembered(engine, machine, entry)
}

fn redefine_as_before(engine: &Engine, machine: &Machine, node: &Node) -> Result<()> {
    redefine(engine, machine, &node.snapshot, node.snapshot.parent.as_deref(), node.snapshot.is_current)
}

/// Lists the snapshots to delete, parents first.
fn doomed<'m>(machine: &'m Machine, name: &SnapshotName, scope: Scope) -> Result<Vec<&'m Node>> {
    let node = machine.existing(name)?;
    let below = machine.descendants(node.name());
    match scope {
        Scope::One => Ok(vec![node]),
        Scope::WithChildren => Ok([vec![node], below].concat()),
        Scope::ChildrenOnly if below.is_empty() => {
            Err(Error::failed(format!("snapshot `{name}` of `{}` has no children", machine.name))
                .hint("leave `--children-only` out to delete the snapshot itself"))
        }
        Scope::ChildrenOnly => Ok(below),
    }
}

fn plain_names(nodes: &[&Node]) -> String {
    nodes.iter().map(|node| node.name()).collect::<Vec<_>>().join(", ")
}
