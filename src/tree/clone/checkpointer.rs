//! Takes checkpoints while a step runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Weak;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::hypervisor::Guest;
use crate::stop::{Interrupt, Stop};
use crate::tree::clone::running::{Disks, Running};
use crate::tree::kept::checkpoint::Checkpoint;
use crate::tree::machine::time_limits::SYNC_LIMIT;

/// Takes checkpoints of a running builder.
pub struct Checkpointer {
    running: Weak<Running>,
    /// The next overlays, by target: as many as the backing chain has room for.
    overlays: Vec<BTreeMap<String, PathBuf>>,
    after: Duration,
    taken: u32,
    last: Instant,
    /// Whether the state before the first operation is kept too.
    from_the_start: bool,
    interrupt: Interrupt,
}

impl Checkpointer {
    pub fn new(
        running: Weak<Running>,
        overlays: Vec<BTreeMap<String, PathBuf>>,
        after: Duration,
        interrupt: &Interrupt,
    ) -> Self {
        let (last, interrupt) = (Instant::now(), interrupt.clone());
        Self { running, overlays, after, taken: 0, last, from_the_start: false, interrupt }
    }

    /// Also keeps the state before the first operation, to save a boot.
    pub fn with_the_beginning(self) -> Self {
        Self { from_the_start: true, ..self }
    }

    /// Returns whether the backing chain has no room for another checkpoint.
    pub fn is_used_up(&self) -> bool {
        self.overlays.is_empty()
    }

    /// Sets the next overlays, once the chain has room again.
    pub fn refill(&mut self, overlays: Vec<BTreeMap<String, PathBuf>>) {
        self.overlays = overlays;
    }

    /// Takes a checkpoint if the last one was long ago. Each adds a layer to the chain, so the interval grows.
    pub fn pass(&mut self, operations: usize, guest: &dyn Guest) -> Result<()> {
        let is_due = (operations > 0 || self.from_the_start) && self.last.elapsed() >= self.after * (self.taken + 1);
        let Some(running) = self.running.upgrade().filter(|_| is_due) else { return Ok(()) };
        let Some(overlays) = self.overlays.pop() else { return Ok(()) };
        let taken = take(&running, overlays, operations, guest, &Stop::after(SYNC_LIMIT, &self.interrupt));
        if taken.is_err() {
            self.overlays.clear();
        }
        self.taken += 1;
        self.last = Instant::now();
        taken
    }
}

fn take(
    running: &Running,
    overlays: BTreeMap<String, PathBuf>,
    operations: usize,
    guest: &dyn Guest,
    stop: &Stop,
) -> Result<()> {
    let is_last = |disks: &Disks| disks.checkpoints.last().is_some_and(|last| last.operations == operations);
    if running.disks().as_ref().is_none_or(is_last) {
        return Ok(());
    }
    guest.settle(stop)?;
    let (layers, ram) = running.leave_behind(&format!("checkpoint-{operations}"), overlays)?;
    if let Some(disks) = running.disks().as_mut() {
        disks.checkpoints.push(Checkpoint { operations, layers, ram });
    }
    Ok(())
}
