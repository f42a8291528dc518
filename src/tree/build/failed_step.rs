//! Failed nodes: what is left of a step that failed, outside of the tree, until its branch fails again or is built.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::hypervisor::{DiskFile, Document, Image};
use crate::name::{MachineName, SnapshotName, SnapshotPath};
use crate::nearest::nearest;
use crate::shell;
use crate::tree::build::branch::Build;
use crate::tree::clone::builder::Remains;
use crate::tree::clone::checkpointer::{self as checkpoint, Checkpoint, Trail};
use crate::tree::clone::ram::KeptRam;
use crate::tree::files::json_dir::Drawer;
use crate::tree::machine::engine::{Engine, Machine, NodeId};
use crate::tree::record::journal::{Attempt, Journal};
use crate::tree::record::node::Parent;
use crate::tree::record::operation::Bytes;
use crate::tree::view::info::{LoggedOperation, logged};

/// What is left of the last step that failed on a branch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failed {
    pub name: SnapshotName,
    #[serde(flatten)]
    pub parent: Parent,
    /// When it failed, in seconds since the epoch.
    pub when: u64,
    /// The whole text of the error.
    pub error: String,
    /// The operations that succeeded.
    pub journal: Journal,
    /// The operation that failed, where it was one.
    pub attempt: Option<Attempt>,
    /// The domain that a fork of it is made from.
    pub document: Document,
    /// The builder's disks as they were left.
    pub layers: Vec<DiskFile>,
    /// Its RAM, where it was kept.
    #[serde(default)]
    pub ram: KeptRam,
    /// From where a new try may go on.
    pub checkpoints: Vec<Checkpoint>,
    /// Whether this try had gone on from an earlier one.
    pub went_on: bool,
}

/// A failed node in a list.
#[derive(Clone, Debug, Serialize)]
pub struct FailedView {
    pub name: String,
    /// Seconds since the epoch.
    pub when: u64,
    /// What the error says, in one line.
    pub error: String,
}

/// What a failed node knows, the field `failed` of `snaptree log --json`.
#[derive(Clone, Debug, Serialize)]
pub struct FailedLog {
    /// Seconds since the epoch.
    pub when: u64,
    /// What it was built on.
    pub parent: String,
    pub parent_key: String,
    /// The error as it was reported.
    pub error: String,
    /// The operations that succeeded.
    pub operations: Vec<LoggedOperation>,
    /// The operation that failed; none when the step itself raised an error.
    pub operation: Option<FailedOperation>,
}

#[derive(Clone, Debug, Serialize)]
pub struct FailedOperation {
    /// Counts from 1.
    pub number: usize,
    pub operation: String,
    /// In milliseconds.
    pub took: u64,
    /// The exit status of its command; none when the command was ended, or there was none.
    pub status: Option<i32>,
    pub stdout: Bytes,
    pub stderr: Bytes,
}

impl Failed {
    pub fn drawer(machine_directory: &Path) -> Drawer<Self> {
        Drawer::of(machine_directory, "failed")
    }

    /// Lists the files that it keeps.
    pub fn files(&self) -> Vec<PathBuf> {
        let layers = self.layers.iter().map(|layer| layer.file.clone());
        layers.chain(self.ram.files()).chain(checkpoint::files(&self.checkpoints)).collect()
    }

    pub fn images(&self) -> Vec<Image> {
        let layers = self.layers.iter().map(DiskFile::image);
        layers.chain(self.checkpoints.iter().flat_map(Checkpoint::images)).collect()
    }

    pub fn view(&self) -> FailedView {
        let error = self.error.lines().next().unwrap_or_default().to_string();
        FailedView { name: self.name.to_string(), when: self.when, error }
    }

    pub fn log(self) -> FailedLog {
        let number = self.journal.entries.len() + 1;
        FailedLog {
            when: self.when,
            parent: self.parent.name,
            parent_key: self.parent.key,
            error: self.error,
            operations: logged(self.journal),
            operation: self.attempt.map(|attempt| FailedOperation {
                number,
                operation: attempt.operation.to_string(),
                took: attempt.took,
                status: attempt.status,
                stdout: attempt.stdout,
                stderr: attempt.stderr,
            }),
        }
    }
}

impl Machine {
    /// Returns a failed node that has to exist.
    pub fn failed(&self, name: &SnapshotName) -> Result<Failed> {
        let drawer = Failed::drawer(&self.directory);
        drawer.get(name).ok_or_else(|| {
            let all = drawer.all();
            let error = Error::failed(format!("there is no failed `{name}` in `{}`", self.name));
            match nearest(name.as_str(), all.iter().map(|failed| failed.name.as_str())) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None if all.is_empty() => error
                    .hint("a branch whose step failed is kept until it is built; `run --on-error clean` keeps none"),
                None => error.hint(format!("`snaptree info {}` lists what failed", shell::last(&self.name))),
            }
        })
    }
}

impl Engine {
    /// Says whether something is left of a step that failed on this branch.
    pub fn has_failed(&self, path: &SnapshotPath) -> Result<bool> {
        Ok(self.existing(&path.machine)?.failed(&path.snapshot).is_ok())
    }

    /// Ends a build whose step failed. What is left of it becomes the branch's failed node, unless nothing is to be
    /// `kept` or the user stopped it; says whether it did.
    pub fn give_up(&self, parent: &NodeId, build: Build, error: &Error, kept: bool) -> bool {
        let wanted = Arc::clone(&build.wanted);
        let name = &wanted.name;
        if error.kind == Kind::Interrupted || self.interrupt.is_raised() {
            return false;
        }
        let kept = if kept { self.keep_failed(parent, build, error).map(|()| true) } else { Ok(false) };
        let ended = kept.and_then(|kept| {
            if !kept {
                self.forget_failed(&parent.machine, name)?;
            }
            Ok(kept)
        });
        // The step's own error is the news.
        ended.unwrap_or_else(|why| {
            self.events.note(format!("what is left of `{}/{name}` could not be kept: {why}", parent.machine));
            false
        })
    }

    fn keep_failed(&self, parent: &NodeId, build: Build, error: &Error) -> Result<()> {
        let machine = self.existing(&parent.machine)?;
        let document = machine.existing(&parent.name)?.snapshot.document.clone();
        let journal = build.journal();
        let Build { session, wanted, builder, .. } = build;
        let (name, attempt, is_told) = (&wanted.name, session.attempt(), session.is_told());
        let Remains { layers, ram, is_whole, mut checkpoints } = builder.keep(self, &machine)?;
        let operations = journal.entries.len();
        if is_told && is_whole && checkpoints.last().is_none_or(|last| last.operations < operations) {
            checkpoints.push(Checkpoint { operations, layers: layers.clone(), ram: ram.clone() });
        }
        let failed = Failed {
            name: name.clone(),
            parent: parent.into(),
            when: crate::clock::now(),
            error: error.to_string(),
            went_on: session.matched() > 0,
            journal,
            attempt,
            document,
            layers,
            ram,
            checkpoints: checkpoint::newest(checkpoints),
        };
        let drawer = Failed::drawer(&machine.directory);
        let before = drawer.get(name);
        drawer.keep(name, &failed)?;
        if let Some(before) = before {
            self.collect(&parent.machine, before.files())?;
        }
        Ok(())
    }

    /// Notes the check-points below a branch that was built, and gives up what was kept for this.
    pub(in crate::tree) fn succeed(&self, parent: &NodeId, name: &SnapshotName, mut trail: Trail) -> Result<()> {
        let directory = self.existing(&parent.machine)?.directory.clone();
        let (trails, failures) = (Trail::drawer(&directory), Failed::drawer(&directory));
        trail.checkpoints = checkpoint::newest(trail.checkpoints);
        trail.journal.entries.truncate(trail.checkpoints.last().map_or(0, |last| last.operations));
        let mut files: Vec<PathBuf> = trails.take(name).iter().flat_map(Trail::files).collect();
        files.extend(failures.take(name).iter().flat_map(Failed::files));
        if !trail.checkpoints.is_empty() {
            trails.keep(name, &trail)?;
        }
        if files.is_empty() { Ok(()) } else { self.collect(&parent.machine, files).map(drop) }
    }

    /// Forgets the failed node of a branch and removes its files, as far as nothing else needs them.
    pub(in crate::tree) fn forget_failed(&self, machine: &MachineName, name: &SnapshotName) -> Result<()> {
        let directory = self.existing(machine)?.directory.clone();
        if let Some(failed) = Failed::drawer(&directory).take(name) {
            self.collect(machine, failed.files())?;
        }
        Ok(())
    }

    /// Forgets the failed node of a branch that is as it should be, unless another process builds in that tree.
    pub(in crate::tree) fn forgive(&self, machine: &MachineName, name: &SnapshotName) -> Result<()> {
        let is_failed = Failed::drawer(&self.existing(machine)?.directory).get(name).is_some();
        if is_failed && self.store.claim_if_free(machine)? { self.forget_failed(machine, name) } else { Ok(()) }
    }
}
