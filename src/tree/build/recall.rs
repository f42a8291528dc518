//! Branches that were built before: recalled from the tree, or revived from the superseded nodes.

use std::sync::Arc;

use crate::error::Result;
use crate::event::{Event, Subject};
use crate::name::SnapshotName;
use crate::tree::build::aftermath::forgive;
use crate::tree::build::branch_spec::BranchSpec;
use crate::tree::build::found::{Found, not_from_a_script};
use crate::tree::build::stale::{stale, unwanted};
use crate::tree::graft::prune::{make_room, prune};
use crate::tree::graft::redefine::redefine;
use crate::tree::kept::superseded_nodes::SupersededNodes;
use crate::tree::machine::engine::Engine;
use crate::tree::record::node::Node;
use crate::tree::record::node_id::NodeId;
use crate::tree::record::reason::Reason;
use crate::tree::step::replay_session::ReplaySession;
use crate::tree::step::session::Session;

/// A node that may be what a step would build; replaying the step decides.
pub struct Candidate {
    pub session: Arc<ReplaySession>,
    node: Node,
    place: Place,
}

/// Where a candidate is.
enum Place {
    /// In the tree, below its parent.
    Right,
    /// In the tree, below another snapshot, because its parent was deleted.
    Wrong,
    /// Superseded.
    Aside,
}

/// What is known about a branch before its step has run.
pub enum Recalled {
    /// The node of that name may match.
    Candidate(Box<Candidate>),
    /// It does not, for this reason.
    Stale(Reason),
}

/// Looks in the tree for a node that a step on `parent` may have built before.
pub fn recall(engine: &Engine, parent: &NodeId, wanted: &BranchSpec) -> Result<Recalled> {
    let name = &wanted.name;
    let machine = engine.existing(&parent.machine)?;
    engine.replays_of(parent, name);
    let Some(node) = machine.node(name.as_str()) else {
        return Ok(Recalled::Stale(if engine.is_gone(&machine.name, name) {
            Reason::Parent(parent.name.to_string())
        } else {
            Reason::Missing
        }));
    };
    let Some(record) = &node.record else {
        return Err(not_from_a_script(&machine, name));
    };
    if let Some(reason) = stale(node, record, parent) {
        return Ok(Recalled::Stale(reason));
    }
    let is_below = node.snapshot.parent.as_deref() == Some(parent.name.as_str());
    let place = if is_below { Place::Right } else { Place::Wrong };
    Ok(match candidate(engine, parent, wanted, node.clone(), place) {
        Ok(candidate) => Recalled::Candidate(Box::new(candidate)),
        Err(why) => Recalled::Stale(Reason::Changed(why)),
    })
}

/// Looks among the superseded nodes for one that a step on `parent` may have built before.
pub fn recall_superseded(engine: &Engine, parent: &NodeId, wanted: &BranchSpec) -> Result<Vec<Candidate>> {
    let machine = engine.existing(&parent.machine)?;
    let nodes = SupersededNodes::of(&machine.directory).named(wanted.name.as_str());
    let fits = |node: &Node| {
        node.record.as_ref().is_some_and(|record| record.fits(parent)) && node.snapshot.missing_file().is_none()
    };
    let candidate = |node: Node| candidate(engine, parent, wanted, node, Place::Aside).ok();
    Ok(nodes.into_iter().filter(fits).filter_map(candidate).collect())
}

/// Prepares to run a step against the journal of a node; returns the reason if the node clearly cannot match.
fn candidate(
    engine: &Engine,
    parent: &NodeId,
    wanted: &BranchSpec,
    node: Node,
    place: Place,
) -> std::result::Result<Candidate, String> {
    let journal = node.journal().map_err(|damaged| damaged.message)?;
    if let Some(why) = unwanted(&node, &journal, wanted) {
        return Err(why);
    }
    let session = ReplaySession::new(node.name(), journal, engine.interrupt.clone()).naming(&engine.inputs);
    if engine.is_planning {
        let session = Arc::new(session.leaving_the_host_alone());
        return Ok(Candidate { session, node, place });
    }
    let session = Arc::new(session);
    engine.remember_replay(parent, node.name(), Arc::clone(session.replay()));
    Ok(Candidate { session, node, place })
}

/// Accepts a candidate whose replay succeeded; returns the reason if the step asked for less than the journal has.
pub fn accept(engine: &Engine, parent: &NodeId, candidate: &Candidate) -> Result<Found> {
    if let Some(reason) = candidate.session.left_over() {
        return Ok(Found::Needed(Reason::Changed(reason)));
    }
    let node = NodeId {
        machine: parent.machine.clone(),
        name: SnapshotName::existing(candidate.node.name())?,
        key: candidate.session.journal().key(&parent.key),
        build: candidate.node.build(),
    };
    if engine.is_planning {
        let is_aside = matches!(candidate.place, Place::Aside);
        return Ok(if is_aside { Found::KeptAside(node) } else { Found::Cached(node) });
    }
    take_back(engine, parent, candidate)?;
    engine.events.emit(Event::NodeCached { subject: Subject::node(&node.machine, &node.name) });
    forgive(engine, &parent.machine, &node.name)?;
    Ok(Found::Cached(node))
}

/// Moves a node that matches to its place in the tree.
fn take_back(engine: &Engine, parent: &NodeId, Candidate { node, place, .. }: &Candidate) -> Result<()> {
    let machine = engine.existing(&parent.machine)?;
    let below = Some(parent.name.as_str());
    match place {
        Place::Right => {}
        Place::Wrong => {
            let is_current = node.snapshot.is_current;
            redefine(engine, &machine, &node.snapshot, below, is_current)?;
            engine.look_again(&machine.name)?;
        }
        Place::Aside => {
            let is_current = make_room(engine, &machine, node.name())?;
            redefine(engine, &machine, &node.snapshot, below, is_current)?;
            prune(engine, &machine.name)?;
            SupersededNodes::of(&machine.directory).forget(node);
        }
    }
    Ok(())
}
