//! Takes superseded nodes out of the tree: those replaced by one of the same name, and those whose parent was rebuilt.

use std::collections::HashSet;

use crate::error::Result;
use crate::name::{MachineName, SnapshotName};
use crate::tree::graft::redefine::mend_current;
use crate::tree::kept::superseded_nodes::SupersededNodes;
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::record::node::Node;

/// Makes room for a node in the tree: an existing one of that name is kept aside with its whole subtree. Returns
/// whether it was the current snapshot.
pub fn make_room(engine: &Engine, machine: &Machine, name: &str) -> Result<bool> {
    let Some(node) = machine.node(name) else { return Ok(false) };
    supersede(engine, machine, node)?;
    Ok(node.snapshot.is_current)
}

/// Keeps a node and its subtree aside, before anything of it changes in the tree. If its layer is gone, the nodes below
/// it can never be used again and are dropped.
pub fn supersede(engine: &Engine, machine: &Machine, node: &Node) -> Result<()> {
    let below = machine.descendants(node.name()).into_iter().filter(|node| node.record.is_some());
    if node.snapshot.missing_file().is_none() {
        let aside = SupersededNodes::of(&machine.directory);
        return below.chain([node]).try_for_each(|node| aside.keep(node));
    }
    let below: Vec<_> = below.collect();
    engine.are_gone(&machine.name, &below);
    below
        .into_iter()
        .rev()
        .try_for_each(|node| engine.hypervisor.delete_snapshot_metadata(machine.name.as_str(), node.name()))
}

/// Takes nodes out of a tree if their parent is no longer the one they were built on, and keeps them aside.
pub fn prune(engine: &Engine, machine: &MachineName) -> Result<()> {
    let Some(machine) = engine.look_again(machine)? else { return Ok(()) };
    let orphans: Vec<&Node> = machine.nodes.iter().filter(|node| is_orphan(&machine, node)).collect();
    if orphans.is_empty() {
        return Ok(());
    }
    let (mut doomed, mut known): (Vec<&Node>, HashSet<&str>) = Default::default();
    for orphan in orphans.iter().filter(|orphan| orphan.record.is_some()) {
        // The subtree of an earlier orphan was handled with it.
        if !known.contains(orphan.name()) {
            let all = [vec![*orphan], machine.descendants(orphan.name())].concat();
            doomed.extend(all.into_iter().filter(|node| node.record.is_some() && known.insert(node.name())));
        }
    }
    engine.are_gone(&machine.name, &doomed);
    let aside = SupersededNodes::of(&machine.directory);
    doomed.iter().try_for_each(|node| aside.keep(node))?;
    for node in doomed.iter().rev() {
        engine.hypervisor.delete_snapshot_metadata(machine.name.as_str(), node.name())?;
    }
    if doomed.iter().any(|node| node.snapshot.is_current) {
        mend_current(engine, &machine.name)?;
    }
    engine.look_again(&machine.name)?;
    Ok(())
}

/// Returns whether a node's parent is no longer the one it was built on.
pub fn is_orphan(machine: &Machine, node: &Node) -> bool {
    let Some(built_on) = node.record.as_ref().and_then(|record| record.built_on.as_ref()) else {
        return false;
    };
    let parent = node.snapshot.parent.as_deref().filter(|parent| *parent == built_on.name);
    let parent = parent.and_then(|parent| machine.node(parent)).and_then(|parent| parent.record.as_ref());
    parent.is_some_and(|parent| parent.key != built_on.key)
}

/// Returns the build of a deleted node if something in the tree was built on it: that stays valid once the node is
/// back.
pub fn deleted_build(machine: &Machine, name: &SnapshotName, key: &str) -> Option<String> {
    if machine.node(name.as_str()).is_some() {
        return None;
    }
    let mut parents = machine.nodes.iter().filter_map(|node| node.record.as_ref()?.built_on.as_ref());
    parents.find(|parent| parent.name == name.as_str() && parent.key == key).map(|parent| parent.build.clone())
}
