//! Branches: recalled from the tree, revived from aside, or built and grafted.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::aside::Aside;
use super::builder::{Builder, Purpose};
use super::engine::{Engine, Machine, NodeId};
use super::event::Event;
use super::journal::Journal;
use super::node::{Node, Record};
use super::root::{Found, not_from_a_script};
use super::session::Session;
use crate::error::Result;
use crate::hypervisor::{DiskState, SnapshotSpec};
use crate::name::{MachineName, SnapshotName};

/// A node that may be what a step would make, to be found out by replaying the step.
pub struct Candidate {
    pub session: Arc<Session>,
    node: Node,
    place: Place,
}

/// Where a candidate is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the tree, below its parent.
    Right,
    /// In the tree, below another snapshot, since its parent was deleted.
    Wrong,
    /// Superseded.
    Aside,
}

/// What is known of a branch before its step has run.
pub enum Recalled {
    /// The node of that name may be it.
    Candidate(Box<Candidate>),
    /// It is not, because of this.
    Stale(String),
}

/// A branch that is being built.
pub struct Build {
    pub session: Arc<Session>,
    builder: Builder,
    started: Instant,
}

impl Engine {
    /// Looks in the tree for what a step named `name` on `parent` may have made before.
    pub fn recall(&self, parent: &NodeId, name: &SnapshotName) -> Result<Recalled> {
        let machine = self.existing(&parent.machine)?;
        let Some(node) = machine.node(name.as_str()) else {
            return Ok(Recalled::Stale("it does not exist yet".to_string()));
        };
        let Some(record) = &node.record else {
            return Err(not_from_a_script(&machine, name));
        };
        if let Some(reason) = stale(node, record, parent) {
            return Ok(Recalled::Stale(reason));
        }
        let is_below = node.snapshot.parent.as_deref() == Some(parent.name.as_str());
        let place = if is_below { Place::Right } else { Place::Wrong };
        Ok(match self.candidate(node.clone(), place) {
            Ok(candidate) => Recalled::Candidate(Box::new(candidate)),
            Err(damaged) => Recalled::Stale(damaged.message),
        })
    }

    /// Looks among the superseded nodes for what a step named `name` on `parent` may have made before.
    pub fn recall_superseded(&self, parent: &NodeId, name: &SnapshotName) -> Result<Vec<Candidate>> {
        let machine = self.existing(&parent.machine)?;
        let nodes = Aside::of(&machine.directory).nodes();
        let fits = |node: &Node| {
            node.name() == name.as_str()
                && node.record.as_ref().is_some_and(|record| record.fits(&parent.key))
                && node.snapshot.missing_file().is_none()
        };
        Ok(nodes.into_iter().filter(fits).filter_map(|node| self.candidate(node, Place::Aside).ok()).collect())
    }

    fn candidate(&self, node: Node, place: Place) -> Result<Candidate> {
        let session = Session::replay(node.name(), node.journal()?, self.events.clone(), self.interrupt.clone());
        Ok(Candidate { session: Arc::new(session), node, place })
    }

    /// Takes a candidate whose replay has gone through; says why not when the step asked for less than it holds.
    pub fn accept(&self, parent: &NodeId, candidate: &Candidate) -> Result<Found> {
        if let Some(reason) = candidate.session.left_over() {
            return Ok(Found::Needed(reason));
        }
        let name: SnapshotName = candidate.node.name().parse()?;
        let key = candidate.session.journal().key(&parent.key);
        if candidate.place != Place::Right {
            self.put_back(parent, candidate)?;
        }
        self.events.emit(Event::NodeCached { machine: parent.machine.to_string(), node: name.to_string() });
        Ok(Found::Cached(NodeId { machine: parent.machine.clone(), name, key }))
    }

    /// Puts a node that is as it should be where it should be.
    fn put_back(&self, parent: &NodeId, candidate: &Candidate) -> Result<()> {
        let machine = self.existing(&parent.machine)?;
        let node = &candidate.node;
        let below = Some(parent.name.as_str());
        if candidate.place == Place::Wrong {
            let is_current = node.snapshot.is_current;
            self.put(&machine, &node.snapshot, below, is_current)?;
            self.look_again(&machine.name)?;
            return Ok(());
        }
        let is_current = self.make_room(&machine, node.name())?;
        self.put(&machine, &node.snapshot, below, is_current)?;
        self.prune(&machine.name)?;
        Aside::of(&machine.directory).forget(node);
        Ok(())
    }

    /// Boots a builder for a branch of a tree that was claimed.
    pub fn start_build(&self, parent: &NodeId, name: &SnapshotName) -> Result<Build> {
        let machine = self.existing(&parent.machine)?;
        let node = machine.existing(&parent.name)?;
        let started = Instant::now();
        let layers = self.base(&machine, node)?;
        let builder = Builder::boot(self, &machine, &node.snapshot, &layers, name.as_str(), Purpose::Build)?;
        let session = Session::live(name.as_str(), builder.guest(), self.events.clone(), self.interrupt.clone());
        Ok(Build { session: Arc::new(session), builder, started })
    }

    /// Freezes a builder whose step succeeded and puts its layer into the tree.
    pub fn graft(&self, parent: &NodeId, name: &SnapshotName, comment: &str, build: Build) -> Result<NodeId> {
        self.events.emit(Event::Freezing { node: name.to_string() });
        let journal: Journal = build.session.journal();
        let layers = build.builder.freeze(self)?;
        let machine = self.existing(&parent.machine)?;
        let parent_node = machine.existing(&parent.name)?;
        let key = journal.key(&parent.key);
        let directory = machine.directory.clone();
        let built_on = Some((parent.name.to_string(), parent.key.clone()));
        let record = Record { key: key.clone(), built_on, directory, is_ours: machine.is_ours };
        let disk = |(target, layer): (String, PathBuf)| {
            // libvirt wants to know where the domain went on writing; nothing was ever written after this state.
            let overlay = layer.with_extension("next");
            DiskState { target, layer, overlay }
        };
        let current = self.make_room(&machine, name.as_str())?;
        self.hypervisor.redefine_snapshot(
            machine.name.as_str(),
            &SnapshotSpec {
                name: name.to_string(),
                parent: Some(parent.name.to_string()),
                comment: comment.to_string(),
                created: super::now(),
                current,
                document: parent_node.snapshot.document.clone(),
                disks: layers.into_iter().map(disk).collect(),
                metadata: record.write(journal.lines(), journal.encode()?),
            },
        )?;
        self.prune(&machine.name)?;
        self.events.emit(Event::NodeBuilt {
            machine: machine.name.to_string(),
            node: name.to_string(),
            took: build.started.elapsed(),
        });
        Ok(NodeId { machine: parent.machine.clone(), name: name.clone(), key })
    }

    /// Makes room for a node in the tree: one of that name is kept aside with all that hangs below it. Says whether
    /// it was the current snapshot.
    pub(super) fn make_room(&self, machine: &Machine, name: &str) -> Result<bool> {
        let Some(node) = machine.node(name) else { return Ok(false) };
        self.supersede(machine, node)?;
        Ok(node.snapshot.is_current)
    }

    /// Writes a node and what hangs below it aside, before anything of it changes in the tree. What stands on a
    /// layer that is gone can never be used again, and is dropped.
    pub(super) fn supersede(&self, machine: &Machine, node: &Node) -> Result<()> {
        let below = machine.descendants(node.name()).into_iter().filter(|node| node.record.is_some());
        if node.snapshot.missing_file().is_none() {
            let aside = Aside::of(&machine.directory);
            return below.chain([node]).try_for_each(|node| aside.keep(node));
        }
        let below: Vec<_> = below.collect();
        below
            .into_iter()
            .rev()
            .try_for_each(|node| self.hypervisor.delete_snapshot_metadata(machine.name.as_str(), node.name()))
    }

    /// Takes those nodes out of a tree whose parent is no longer the one they were built on. They are kept aside.
    pub fn prune(&self, machine: &MachineName) -> Result<()> {
        let Some(machine) = self.look_again(machine)? else { return Ok(()) };
        let orphans: Vec<&Node> = machine.nodes.iter().filter(|node| machine.is_orphan(node)).collect();
        if orphans.is_empty() {
            return Ok(());
        }
        let mut doomed: Vec<&Node> = Vec::new();
        for node in orphans.iter().flat_map(|orphan| [vec![*orphan], machine.descendants(orphan.name())].concat()) {
            if node.record.is_some() && !doomed.iter().any(|known| known.name() == node.name()) {
                doomed.push(node);
            }
        }
        let aside = Aside::of(&machine.directory);
        doomed.iter().try_for_each(|node| aside.keep(node))?;
        for node in doomed.iter().rev() {
            self.hypervisor.delete_snapshot_metadata(machine.name.as_str(), node.name())?;
        }
        if doomed.iter().any(|node| node.snapshot.is_current) {
            self.mend_current(&machine.name)?;
        }
        self.look_again(&machine.name)?;
        Ok(())
    }
}

impl Machine {
    /// Says whether a node's parent has been built anew since.
    pub fn is_orphan(&self, node: &Node) -> bool {
        let Some((built_on, key)) = node.record.as_ref().and_then(|record| record.built_on.as_ref()) else {
            return false;
        };
        let parent = node.snapshot.parent.as_deref().filter(|parent| parent == built_on);
        let parent = parent.and_then(|parent| self.node(parent)).and_then(|parent| parent.record.as_ref());
        parent.is_some_and(|parent| parent.key != *key)
    }
}

/// Says why a node cannot be what a step on `parent` makes, as far as that shows without the step.
fn stale(node: &Node, record: &Record, parent: &NodeId) -> Option<String> {
    let was = record.built_on.as_ref().map_or("none", |(was, _)| was);
    if record.fits(&parent.key) {
        node.snapshot.missing_file()
    } else if was != parent.name.as_str() {
        Some(format!("its parent was `{was}`, is now `{}`", parent.name))
    } else {
        Some(format!("its parent `{}` was built anew", parent.name))
    }
}
