//! Builds branches and grafts them into the tree.

use std::sync::Arc;
use std::time::Instant;

use crate::error::Result;
use crate::event::{Event, Subject};
use crate::hypervisor::{Connections, DiskFile, DiskState, SnapshotSpec};
use crate::tree::build::aftermath::succeed;
use crate::tree::build::branch_spec::BranchSpec;
use crate::tree::build::resume::Resume;
use crate::tree::clone::builder::Builder;
use crate::tree::clone::origin::{Origin, origin};
use crate::tree::clone::running::BuildOutput;
use crate::tree::graft::prune::{deleted_build, make_room, prune};
use crate::tree::kept::checkpoint::{Checkpoint, Trail};
use crate::tree::machine::clone_mark::Purpose;
use crate::tree::machine::engine::Engine;
use crate::tree::record::journal::Journal;
use crate::tree::record::node::Record;
use crate::tree::record::node_id::NodeId;
use crate::tree::step::live_session::LiveSession;
use crate::tree::step::session::Session;

/// A branch that is being built.
pub struct Build {
    pub session: Arc<LiveSession>,
    pub(in crate::tree) wanted: Arc<BranchSpec>,
    pub(in crate::tree) builder: Builder,
    started: Instant,
    /// When the first operation began, perhaps in an earlier try.
    begun: u64,
}

/// Starts a builder for a branch of a claimed tree, from `resume` if given.
pub fn start_build(
    engine: &Engine,
    parent: &NodeId,
    wanted: &Arc<BranchSpec>,
    resume: Option<Resume>,
) -> Result<Build> {
    let name = &wanted.name;
    let machine = engine.existing(&parent.machine)?;
    let node = machine.existing(&parent.name)?;
    let started = Instant::now();
    let subject = Subject::node(&machine.name, name);
    let (answers, checkpoints) = match resume {
        Some(resume) => {
            let operations = resume.operations();
            engine.events.emit(Event::Resuming { subject: subject.clone(), operations, of: resume.of });
            (resume.answers, resume.checkpoints)
        }
        None => Default::default(),
    };
    let begun = answers.begun(crate::clock::now());
    let origin = match checkpoints.last().cloned() {
        Some(Checkpoint { layers, ram, .. }) => {
            Origin { name: name.clone(), document: node.snapshot.document.clone(), layers, ram }
        }
        None => origin(engine, &machine, node)?,
    };
    let mut builder = Builder::start(engine, &machine, &origin, name, Purpose::Build, wanted.live, Connections::Reset)?;
    let session = LiveSession::new(subject, builder.guest(), engine.events.clone(), engine.interrupt.clone())
        .with_console(engine.serial(builder.domain()));
    let checkpointer = builder.checkpointer(engine, checkpoints, engine.checkpoint_after);
    let session = Arc::new(session.within(wanted.timeout).resumed(answers, checkpointer));
    Ok(Build { session, wanted: Arc::clone(wanted), builder, started, begun })
}

/// Freezes a builder whose step succeeded and grafts its layer into the tree.
pub fn graft(engine: &Engine, parent: &NodeId, build: Build) -> Result<NodeId> {
    engine.events.emit(Event::Freezing { subject: Subject::node(&parent.machine, &build.wanted.name) });
    let journal = build.journal();
    let Build { wanted, builder, started, .. } = build;
    let machine = engine.existing(&parent.machine)?;
    let remains = builder.freeze(engine, &machine, wanted.live)?;
    let grafted = graft_as(engine, parent, &wanted, journal, remains)?;
    let subject = Subject::node(&machine.name, &grafted.name);
    engine.events.emit(Event::NodeBuilt { subject, took: started.elapsed() });
    Ok(grafted)
}

/// Grafts the layers of a clone into the tree, as the result of these operations on `parent`.
pub fn graft_as(
    engine: &Engine,
    parent: &NodeId,
    wanted: &BranchSpec,
    journal: Journal,
    remains: BuildOutput,
) -> Result<NodeId> {
    let BranchSpec { name, comment, .. } = wanted;
    let BuildOutput { layers, ram, checkpoints, .. } = remains;
    let machine = engine.existing(&parent.machine)?;
    let parent_node = machine.existing(&parent.name)?;
    let key = journal.key(&parent.key);
    let directory = machine.directory.clone();
    let id = deleted_build(&machine, name, &key).map_or_else(|| engine.store.new_id(), Ok)?;
    let node = NodeId { machine: machine.name.clone(), name: name.clone(), key, build: id };
    let mut record = Record::of(&node, Some(parent.into()), directory, machine.is_ours);
    record.fits = ram.fits;
    let disk = |layer: DiskFile| {
        // libvirt requires the overlay that the domain wrote to next; nothing was ever written after this state.
        let overlay = layer.file.with_extension("next");
        DiskState { target: layer.target, layer: layer.file, overlay }
    };
    let current = make_room(engine, &machine, name.as_str())?;
    engine.hypervisor.define_snapshot(
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
    prune(engine, &machine.name)?;
    let trail = Trail { name: name.clone(), parent: parent.into(), journal, checkpoints };
    if let Err(why) = succeed(engine, parent, name, trail) {
        // The branch is built; any remaining file is debris.
        engine.events.note(format!("earlier tries of `{}/{name}` could not be removed: {why}", parent.machine));
    }
    Ok(node)
}

impl Build {
    /// Returns the operations so far, as they are recorded.
    pub(in crate::tree) fn journal(&self) -> Journal {
        Journal { inputs: self.wanted.inputs.clone(), begun: Some(self.begun), ..self.session.journal() }
    }
}
