//! Working forks: clones in which a user tries one thing after the other, goes back, and keeps what worked.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::event::Subject;
use crate::hypervisor::Connections;
use crate::name::{SnapshotName, SnapshotPath};
use crate::stop::Stop;
use crate::tree::build::branch_spec::BranchSpec;
use crate::tree::build::fork::keep_fork;
use crate::tree::clone::builder::Builder;
use crate::tree::clone::origin::node_id;
use crate::tree::clone::origin::{Origin, origin};
use crate::tree::graft::sweep::sweep;
use crate::tree::kept::checkpoint::{Checkpoint, files};
use crate::tree::kept::failed_node::{FailedNode, failed_node};
use crate::tree::machine::clone_mark::Purpose;
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::machine::time_limits::FLATTEN_LIMIT;
use crate::tree::record::journal::{Attempt, Journal, JournalEntry};
use crate::tree::record::node_id::NodeId;
use crate::tree::record::operation::Outcome;
use crate::tree::step::live_session::LiveSession;
use crate::tree::step::session::Session;

/// A fork to work in. It is removed when the last reference to it is dropped.
pub struct WorkingFork {
    /// The node whose child it would become when kept.
    pub of: NodeId,
    /// The name of the failed node that it resumes from, if it does.
    pub failed: Option<SnapshotName>,
    pub session: Arc<LiveSession>,
    builder: Arc<Builder>,
}

/// The origin of a working fork.
struct Start {
    origin: Origin,
    done: Journal,
    /// The number of leading operations with a known effect; none if all are known.
    known: Option<usize>,
    checkpoints: Vec<Checkpoint>,
}

impl WorkingFork {
    /// Returns how many operations were carried out since it began.
    pub fn operations(&self) -> usize {
        self.session.journal().entries.len()
    }

    /// Describes the present state: the node, and the number of operations since.
    pub fn place(&self) -> String {
        let place = match &self.failed {
            Some(failed) => format!("{}/{failed} (failed)", self.of.machine),
            None => format!("{}/{}", self.of.machine, self.of.name),
        };
        match self.session.standing() {
            (0, _) => place,
            (operations, true) => format!("{place}+{operations}"),
            (operations, false) => format!("{place}+{operations}?"),
        }
    }

    /// Lists the operations, with a mark on those whose effect is unknown.
    pub fn lines(&self) -> Vec<(String, bool)> {
        let known = self.session.known().unwrap_or(usize::MAX);
        let entries = self.session.journal().entries;
        entries.iter().enumerate().map(|(n, entry)| (entry.operation.to_string(), n >= known)).collect()
    }
}

/// Starts a working fork of a snapshot.
pub fn work_on(engine: &Engine, path: &SnapshotPath) -> Result<WorkingFork> {
    sweep(engine, &path.machine)?;
    let machine = engine.existing(&path.machine)?;
    let origin = origin(engine, &machine, machine.existing(&path.snapshot)?)?;
    let start = Start { origin, done: Journal::default(), known: None, checkpoints: Vec::new() };
    begin_work(engine, &machine, node_id(engine, path)?, None, start)
}

/// Starts a working fork of a failed step's last state, after the operations that it carried out.
pub fn work_on_failed(engine: &Engine, path: &SnapshotPath) -> Result<WorkingFork> {
    sweep(engine, &path.machine)?;
    let machine = engine.existing_now(&path.machine)?;
    let failed = failed_node(&machine.name, &machine.directory, &path.snapshot)?;
    let parent = SnapshotPath { machine: path.machine.clone(), snapshot: SnapshotName::existing(&failed.parent.name)? };
    let of = node_id(engine, &parent)?;
    let known = failed.attempt.is_some().then_some(failed.journal.entries.len());
    let FailedNode { document, layers, ram, journal: mut done, attempt, checkpoints, .. } = failed;
    done.entries.extend(attempt.map(JournalEntry::broken_off));
    let origin = Origin { name: path.snapshot.clone(), document, layers, ram };
    begin_work(engine, &machine, of, Some(path.snapshot.clone()), Start { origin, done, known, checkpoints })
}

fn begin_work(
    engine: &Engine,
    machine: &Machine,
    of: NodeId,
    failed: Option<SnapshotName>,
    start: Start,
) -> Result<WorkingFork> {
    let Start { origin, done, known, checkpoints } = start;
    let mut builder = Builder::start(engine, machine, &origin, &origin.name, Purpose::Work, None, Connections::Reset)?;
    let checkpointer = builder.checkpointer(engine, checkpoints, Duration::ZERO);
    let checkpointer = if builder.is_resumed { checkpointer } else { checkpointer.with_the_beginning() };
    let session = session_of(engine, &of, &builder).by_hand(done, known, checkpointer);
    Ok(WorkingFork { of, failed, session: Arc::new(session), builder: Arc::new(builder) })
}

fn session_of(engine: &Engine, of: &NodeId, builder: &Builder) -> LiveSession {
    let subject = Subject::node(&of.machine, &of.name);
    LiveSession::new(subject, builder.guest(), engine.events.by_hand(), engine.interrupt.clone())
        .with_console(engine.serial(builder.domain()))
}

/// Undoes the last operations: starts a working fork of the state before them, which replaces this one.
pub fn go_back(engine: &Engine, work: &WorkingFork, count: usize) -> Result<WorkingFork> {
    let done = work.operations();
    let Some(left) = done.checked_sub(count).filter(|_| count > 0) else {
        let error = match done {
            0 => Error::failed(format!("nothing was done since `{}`", work.place())),
            1 => Error::failed("only one operation was done"),
            done => Error::failed(format!("only {done} operations were done")),
        };
        return Err(error.hint("revert(\"MACHINE/SNAPSHOT\") goes to another snapshot"));
    };
    let machine = engine.existing_now(&work.of.machine)?;
    let node = machine.existing(&work.of.name)?;
    let mut checkpoints = work.builder.running().checkpoints();
    checkpoints.retain(|checkpoint| checkpoint.operations <= left);
    let origin = match checkpoints.last().cloned() {
        Some(Checkpoint { operations, layers, ram }) if operations == left => {
            let (name, document) = (work.of.name.clone(), node.snapshot.document.clone());
            Origin { name, document, layers, ram }
        }
        _ if left == 0 => origin(engine, &machine, node)?,
        _ => {
            return Err(Error::failed(format!("the state after operation {left} was not kept"))
                .hint("back(n) goes further back; use(\"MACHINE/SNAPSHOT\") starts over"));
        }
    };
    let mut journal = work.session.journal();
    journal.entries.truncate(left);
    let known = work.session.known().filter(|known| *known < left);
    let failed = work.failed.clone().filter(|_| left > 0);
    let kept = files(&checkpoints);
    let start = Start { origin, done: journal, known, checkpoints };
    let back = begin_work(engine, &machine, work.of.clone(), failed, start)?;
    back.builder.running().take_over(work.builder.running().give_away(&kept));
    Ok(back)
}

/// Keeps the present state of a working fork as a branch; the fork continues from there.
pub fn keep_work(engine: &Engine, work: &WorkingFork, wanted: &BranchSpec) -> Result<WorkingFork> {
    if let Some((line, _)) = work.lines().into_iter().find(|(_, is_unknown)| *is_unknown) {
        return Err(Error::failed(format!("`{line}` was interrupted; its effect is unknown"))
            .hint("back() returns to the state before it"));
    }
    let builder = Arc::clone(&work.builder);
    let of = keep_fork(engine, &builder, &work.of, wanted, work.session.journal())?;
    let checkpointer = work.session.with_checkpointer(Option::take);
    let checkpointer = checkpointer.ok_or_else(|| Error::bug("a working fork keeps no states"))?;
    let session = session_of(engine, &of, &builder).by_hand(Journal::default(), None, checkpointer);
    Ok(WorkingFork { of, failed: None, session: Arc::new(session), builder })
}

/// Flattens the fork's disks if the backing chain has no room for more states to go back to.
pub fn make_room_to_go_back(engine: &Engine, work: &WorkingFork) -> Result<()> {
    let is_used_up =
        work.session.with_checkpointer(|it| it.as_ref().is_some_and(|checkpointer| checkpointer.is_used_up()));
    if !is_used_up {
        return Ok(());
    }
    let running = work.builder.running();
    let targets: Vec<String> = running.disks().iter().flat_map(|disks| disks.overlays.keys().cloned()).collect();
    let stop = Stop::after(FLATTEN_LIMIT, &engine.interrupt);
    targets.iter().try_for_each(|target| engine.hypervisor.pull(&running.domain, target, &stop))?;
    let machine = engine.existing(&work.of.machine)?;
    let spare = work.builder.room_for_more(engine, &machine, &work.of.name)?;
    work.session.with_checkpointer(|it| it.iter_mut().for_each(|checkpointer| checkpointer.refill(spare.clone())));
    Ok(())
}

impl JournalEntry {
    /// Stands for an operation that was interrupted.
    fn broken_off(attempt: Attempt) -> Self {
        Self { operation: attempt.operation, outcome: Outcome::Done, took: attempt.took, shape: None }
    }
}
