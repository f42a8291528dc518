//! Branches: recalled from the tree, revived from aside, or built and grafted.

use std::sync::Arc;
use std::time::Instant;

use crate::error::Result;
use crate::event::{Event, Subject};
use crate::hypervisor::{DiskFile, DiskState, SnapshotSpec};
use crate::name::SnapshotName;
use crate::tree::build::branch_spec::{Wanted, other_liveness};
use crate::tree::build::resume::Resume;
use crate::tree::build::root::{Found, not_from_a_script};
use crate::tree::clone::builder::Builder;
use crate::tree::clone::origin::{Origin, origin};
use crate::tree::clone::running::Remains;
use crate::tree::graft::prune::{deleted_build, make_room, prune};
use crate::tree::graft::put::put;
use crate::tree::kept::checkpoint::{Checkpoint, Trail};
use crate::tree::kept::superseded::Aside;
use crate::tree::machine::clone_mark::Purpose;
use crate::tree::machine::engine::Engine;
use crate::tree::record::journal::Journal;
use crate::tree::record::node::{Node, Record};
use crate::tree::record::node_id::NodeId;
use crate::tree::record::reason::Reason;
use crate::tree::step::session::Session;

/// A node that may be what a step would make, to be found out by replaying the step.
pub struct Candidate {
    pub session: Arc<Session>,
    node: Node,
    place: Place,
}

/// Where a candidate is.
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
    Stale(Reason),
}

/// A branch that is being built.
pub struct Build {
    pub session: Arc<Session>,
    pub(in crate::tree) wanted: Arc<Wanted>,
    pub(in crate::tree) builder: Builder,
    started: Instant,
    /// When the first operation was begun, perhaps by an earlier try.
    begun: u64,
}

impl Engine {
    /// Looks in the tree for what a step on `parent` may have made before.
    pub fn recall(&self, parent: &NodeId, wanted: &Wanted) -> Result<Recalled> {
        let name = &wanted.name;
        let machine = self.existing(&parent.machine)?;
        self.replays_of(parent, name);
        let Some(node) = machine.node(name.as_str()) else {
            return Ok(Recalled::Stale(if self.is_gone(&machine.name, name) {
                Reason::Parent(parent.name.to_string())
            } else {
                Reason::Missing
            }));
        };
        let Some(record) = &node.record else {
            return Err(not_from_a_script(&machine, name));
        };
        if let Some(reason) = record.incompatible().or_else(|| stale(node, record, parent)) {
            return Ok(Recalled::Stale(reason));
        }
        let is_below = node.snapshot.parent.as_deref() == Some(parent.name.as_str());
        let place = if is_below { Place::Right } else { Place::Wrong };
        Ok(match self.candidate(parent, wanted, node.clone(), place) {
            Ok(candidate) => Recalled::Candidate(Box::new(candidate)),
            Err(why) => Recalled::Stale(Reason::Changed(why)),
        })
    }

    /// Looks among the superseded nodes for what a step on `parent` may have made before.
    pub fn recall_superseded(&self, parent: &NodeId, wanted: &Wanted) -> Result<Vec<Candidate>> {
        let machine = self.existing(&parent.machine)?;
        let nodes = Aside::of(&machine.directory).named(wanted.name.as_str());
        let fits = |node: &Node| {
            node.record.as_ref().is_some_and(|record| record.fits(parent)) && node.snapshot.missing_file().is_none()
        };
        let candidate = |node: Node| self.candidate(parent, wanted, node, Place::Aside).ok();
        Ok(nodes.into_iter().filter(fits).filter_map(candidate).collect())
    }

    /// Lets a step be run against what made a node; says why not where that is clear without it.
    fn candidate(
        &self,
        parent: &NodeId,
        wanted: &Wanted,
        node: Node,
        place: Place,
    ) -> std::result::Result<Candidate, String> {
        let journal = node.journal().map_err(|damaged| damaged.message)?;
        let refused = wanted.refuses(&journal, node.snapshot.created);
        if let Some(why) = refused.or_else(|| other_liveness(wanted.live, node.is_live())) {
            return Err(why);
        }
        let session = Session::replay(node.name(), journal, self.events.clone(), self.interrupt.clone());
        let session = session.naming(&self.inputs);
        if self.is_planning {
            let session = Arc::new(session.leaving_the_host_alone());
            return Ok(Candidate { session, node, place });
        }
        let session = Arc::new(session);
        self.remember_replay(parent, node.name(), &session);
        Ok(Candidate { session, node, place })
    }

    /// Takes a candidate whose replay has gone through; says why not when the step asked for less than it holds.
    pub fn accept(&self, parent: &NodeId, candidate: &Candidate) -> Result<Found> {
        if let Some(reason) = candidate.session.left_over() {
            return Ok(Found::Needed(Reason::Changed(reason)));
        }
        let node = NodeId {
            machine: parent.machine.clone(),
            name: SnapshotName::existing(candidate.node.name())?,
            key: candidate.session.journal().key(&parent.key),
            build: candidate.node.build(),
        };
        if self.is_planning {
            let is_aside = matches!(candidate.place, Place::Aside);
            return Ok(if is_aside { Found::KeptAside(node) } else { Found::Cached(node) });
        }
        self.put_back(parent, candidate)?;
        self.events.emit(Event::NodeCached { subject: Subject::node(&node.machine, &node.name) });
        self.forgive(&parent.machine, &node.name)?;
        Ok(Found::Cached(node))
    }

    /// Puts a node that is as it should be where it should be.
    fn put_back(&self, parent: &NodeId, Candidate { node, place, .. }: &Candidate) -> Result<()> {
        let machine = self.existing(&parent.machine)?;
        let below = Some(parent.name.as_str());
        match place {
            Place::Right => {}
            Place::Wrong => {
                let is_current = node.snapshot.is_current;
                put(self, &machine, &node.snapshot, below, is_current)?;
                self.look_again(&machine.name)?;
            }
            Place::Aside => {
                let is_current = make_room(self, &machine, node.name())?;
                put(self, &machine, &node.snapshot, below, is_current)?;
                prune(self, &machine.name)?;
                Aside::of(&machine.directory).forget(node);
            }
        }
        Ok(())
    }

    /// Boots a builder for a branch of a tree that was claimed, where there is something to go on from on that.
    pub fn start_build(&self, parent: &NodeId, wanted: &Arc<Wanted>, resume: Option<Resume>) -> Result<Build> {
        let name = &wanted.name;
        let machine = self.existing(&parent.machine)?;
        let node = machine.existing(&parent.name)?;
        let started = Instant::now();
        let subject = Subject::node(&machine.name, name);
        let (answers, checkpoints) = match resume {
            Some(resume) => {
                let operations = resume.operations();
                self.events.emit(Event::GoingOn { subject: subject.clone(), operations, of: resume.of });
                (resume.answers, resume.checkpoints)
            }
            None => Default::default(),
        };
        let begun = answers.begun(crate::clock::now());
        let origin = match checkpoints.last().cloned() {
            Some(Checkpoint { layers, ram, .. }) => {
                Origin { name: name.clone(), document: node.snapshot.document.clone(), layers, ram }
            }
            None => origin(self, &machine, node)?,
        };
        let mut builder = Builder::start(self, &machine, &origin, name, Purpose::Build, wanted.live)?;
        let session = Session::live(subject, builder.guest(), self.events.clone(), self.interrupt.clone());
        let checkpointer = builder.checkpointer(self, checkpoints, self.checkpoint_after);
        let session = Arc::new(session.within(wanted.timeout).going_on(answers, checkpointer));
        Ok(Build { session, wanted: Arc::clone(wanted), builder, started, begun })
    }

    /// Freezes a builder whose step succeeded and puts its layer into the tree.
    pub fn graft(&self, parent: &NodeId, build: Build) -> Result<NodeId> {
        self.events.emit(Event::Freezing { subject: Subject::node(&parent.machine, &build.wanted.name) });
        let journal = build.journal();
        let Build { wanted, builder, started, .. } = build;
        let machine = self.existing(&parent.machine)?;
        let remains = builder.freeze(self, &machine, wanted.live)?;
        let grafted = self.put_in(parent, &wanted, journal, remains)?;
        let subject = Subject::node(&machine.name, &grafted.name);
        self.events.emit(Event::NodeBuilt { subject, took: started.elapsed() });
        Ok(grafted)
    }

    /// Puts what is left of a clone into the tree, as what these operations make of `parent`.
    pub(in crate::tree) fn put_in(
        &self,
        parent: &NodeId,
        wanted: &Wanted,
        journal: Journal,
        remains: Remains,
    ) -> Result<NodeId> {
        let Wanted { name, comment, .. } = wanted;
        let Remains { layers, ram, checkpoints, .. } = remains;
        let machine = self.existing(&parent.machine)?;
        let parent_node = machine.existing(&parent.name)?;
        let key = journal.key(&parent.key);
        let directory = machine.directory.clone();
        let id = deleted_build(&machine, name, &key).map_or_else(|| self.store.new_id(), Ok)?;
        let node = NodeId { machine: machine.name.clone(), name: name.clone(), key, build: id };
        let mut record = Record::of(&node, Some(parent.into()), directory, machine.is_ours);
        record.fits = ram.fits;
        let disk = |layer: DiskFile| {
            // libvirt wants to know where the domain went on writing; nothing was ever written after this state.
            let overlay = layer.file.with_extension("next");
            DiskState { target: layer.target, layer: layer.file, overlay }
        };
        let current = make_room(self, &machine, name.as_str())?;
        self.hypervisor.redefine_snapshot(
            machine.name.as_str(),
            &SnapshotSpec {
                name: name.to_string(),
                parent: Some(parent.name.to_string()),
                comment: comment.clone(),
                created: crate::clock::now(),
                current,
                document: parent_node.snapshot.document.clone(),
                disks: layers.into_iter().map(disk).collect(),
                memory: ram.memory,
                metadata: record.write(journal.lines(), journal.encode()?),
            },
        )?;
        prune(self, &machine.name)?;
        let trail = Trail { name: name.clone(), parent: parent.into(), journal, checkpoints };
        if let Err(why) = self.succeed(parent, name, trail) {
            // The branch is built; what stays behind is debris.
            self.events.note(format!("what was kept of `{}/{name}` could not be removed: {why}", parent.machine));
        }
        Ok(node)
    }
}

impl Build {
    /// Returns what was done so far, as it is recorded.
    pub(in crate::tree) fn journal(&self) -> Journal {
        Journal { inputs: self.wanted.inputs.clone(), begun: Some(self.begun), ..self.session.journal() }
    }
}

/// Says why a node cannot be what a step on `parent` makes, as far as that shows without the step.
fn stale(node: &Node, record: &Record, parent: &NodeId) -> Option<Reason> {
    let was = record.built_on.as_ref().map_or("none", |was| &was.name);
    if record.fits(parent) {
        node.snapshot.missing_file().map(Reason::Changed)
    } else if was != parent.name.as_str() {
        Some(Reason::Changed(format!("its parent was `{was}`, is now `{}`", parent.name)))
    } else {
        Some(Reason::Parent(parent.name.to_string()))
    }
}
