//! Resuming from a checkpoint, so that a new try of a step need not begin at its parent.

use std::sync::Arc;

use crate::error::Result;
use crate::event::EarlierTry;
use crate::hypervisor::SnapshotKind;
use crate::tree::build::branch_spec::BranchSpec;
use crate::tree::graft::layers::{DEEPEST, depth};
use crate::tree::kept::checkpoint::{Checkpoint, Trail};
use crate::tree::kept::failed_node::FailedNode;
use crate::tree::kept::superseded_nodes::SupersededNodes;
use crate::tree::machine::engine::Engine;
use crate::tree::record::journal::Journal;
use crate::tree::record::node::Node;
use crate::tree::record::node_id::NodeId;
use crate::tree::record::operation::Operation;
use crate::tree::record::replay::Replay;
use crate::tree::step::replay_session::ReplaySession;

/// What an earlier try of a step did, with its checkpoints that still exist.
pub struct ResumePoint {
    /// Shows how far the step still matches, once the step is run against it.
    pub session: Arc<ReplaySession>,
    journal: Journal,
    checkpoints: Vec<Checkpoint>,
    of: EarlierTry,
    /// The operation at which an earlier attempt to resume failed.
    stuck_at: Option<Operation>,
    /// How far the step matches, if another replay has shown that.
    matched: Option<usize>,
}

/// A checkpoint to resume from.
pub struct Resume {
    /// The operations that are done by then.
    pub(in crate::tree) answers: Journal,
    /// The checkpoints on the way; the last one is the one to resume from.
    pub(in crate::tree) checkpoints: Vec<Checkpoint>,
    pub(in crate::tree) of: EarlierTry,
}

impl Resume {
    pub fn operations(&self) -> usize {
        self.answers.entries.len()
    }
}

impl ResumePoint {
    /// Returns whether the step has to be run against the session to find out how far it matches.
    pub fn is_unknown(&self) -> bool {
        self.matched.is_none()
    }

    /// Returns the last checkpoint before the step diverges.
    pub fn resume(self) -> Option<Resume> {
        let matched = self.matched.unwrap_or_else(|| self.session.matched());
        let is_stuck = self.stuck_at.is_some()
            && matched == self.journal.entries.len()
            && (self.session.wanted() == self.stuck_at);
        let checkpoints: Vec<Checkpoint> =
            self.checkpoints.into_iter().filter(|checkpoint| checkpoint.operations <= matched).collect();
        let last = checkpoints.last().filter(|last| last.operations > 0 && !is_stuck)?;
        let mut answers = self.journal;
        answers.entries.truncate(last.operations);
        Some(Resume { answers, checkpoints, of: self.of })
    }
}

/// Lists earlier tries of a step on `parent`, with the checkpoints to resume from.
pub fn resume_points(engine: &Engine, parent: &NodeId, wanted: &BranchSpec) -> Result<Vec<ResumePoint>> {
    let name = &wanted.name;
    let machine = engine.existing(&parent.machine)?;
    let replays = engine.replays_of(parent, name);
    // A branch that is built although a replay succeeded is to be built from the beginning.
    let is_forced = replays.iter().any(|replay| replay.has_gone_through());
    if engine.is_planning || is_forced {
        return Ok(Vec::new());
    }
    let mut resume_points = Vec::new();
    let mut add = |mut journal: Journal, when, mut checkpoints: Vec<Checkpoint>, of, stuck_at| {
        // What was done on the console is in no state that is resumed from, such as a login.
        let on_console = journal.entries.iter().position(|entry| entry.operation.is_on_console());
        checkpoints.retain(|checkpoint| on_console.is_none_or(|first| checkpoint.operations <= first));
        checkpoints.retain(|checkpoint| can_resume_from(engine, checkpoint));
        if checkpoints.is_empty() || wanted.refuses(&journal, when).is_some() {
            return;
        }
        journal.begun = Some(journal.begun(when));
        let matched = replays.iter().find_map(|replay| known(replay, &journal));
        let session = ReplaySession::new(name.as_str(), journal.clone(), engine.interrupt.clone());
        resume_points.push(ResumePoint { session: Arc::new(session), journal, checkpoints, of, stuck_at, matched });
    };
    if let Some(failed) = FailedNode::json_dir(&machine.directory).get(name).filter(|it| it.parent.is(parent)) {
        let stuck_at = failed.attempt.filter(|_| failed.went_on).map(|attempt| attempt.operation);
        add(failed.journal, failed.when, failed.checkpoints, EarlierTry::Failed, stuck_at);
    }
    let trail = Trail::json_dir(&machine.directory).get(name).filter(|it| it.parent.is(parent));
    if let Some(trail) = trail.clone() {
        add(trail.journal, crate::clock::now(), trail.checkpoints, EarlierTry::Built, None);
    }
    let fits = |node: &Node| {
        node.name() == name.as_str()
            && node.snapshot.kind() == SnapshotKind::External
            && node.record.as_ref().is_some_and(|record| record.fits(parent))
    };
    let aside = SupersededNodes::of(&machine.directory).named(name.as_str());
    for node in machine.nodes.iter().chain(&aside).filter(|node| fits(node)) {
        let Ok(journal) = node.journal() else { continue };
        let is_below = |trail: &&Trail| journal.entries.starts_with(&trail.journal.entries);
        let below = trail.as_ref().filter(is_below).map(|trail| trail.checkpoints.clone());
        let operations = journal.entries.len();
        let whole = Checkpoint { operations, layers: node.snapshot.layers(), ram: node.ram() };
        let checkpoints = below.into_iter().flatten().chain([whole]).collect();
        add(journal, node.snapshot.created, checkpoints, EarlierTry::Built, None);
    }
    Ok(resume_points)
}

fn can_resume_from(engine: &Engine, checkpoint: &Checkpoint) -> bool {
    checkpoint.files().all(|file| file.exists())
        && checkpoint.layers.iter().all(|layer| depth(engine, &layer.image()).is_ok_and(|depth| depth < DEEPEST))
}

/// Returns how far a step matches `journal`, as far as its replay against another journal shows.
fn known(replay: &Replay, journal: &Journal) -> Option<usize> {
    let (other, matched) = (replay.journal(), replay.matched());
    let common = other.entries.iter().zip(&journal.entries).take_while(|(one, other)| one == other).count();
    let is_known = common > matched || common == journal.entries.len();
    is_known.then(|| common.min(matched))
}
