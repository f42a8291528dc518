//! Check-points: states inside a step, from which a later try of it goes on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Weak;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::hypervisor::{
    DiskFile, Frozen, Guest, Image, MappedMemory, Memory, SnapshotFlags, SnapshotKind, SnapshotRequest,
};
use crate::stop::{Interrupt, Stop};
use crate::tree::clone::builder::{Disks, Running};
use crate::tree::clone::ram::Keeps;
use crate::tree::files::store::seal;
use crate::tree::kept::checkpoint::Checkpoint;
use crate::tree::record::ram::KeptRam;

const SYNC_LIMIT: Duration = Duration::from_secs(60);

/// Takes check-points of a running builder.
pub struct Checkpointer {
    running: Weak<Running>,
    /// The overlays to come, by target: as many as the backing chain has room for.
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

    /// Keeps the state before the first operation too, which took a boot.
    pub fn with_the_beginning(self) -> Self {
        Self { from_the_start: true, ..self }
    }

    /// Says whether the backing chain has no room for another one.
    pub fn is_used_up(&self) -> bool {
        self.overlays.is_empty()
    }

    /// Gives it overlays to come, once the chain has room again.
    pub fn refill(&mut self, overlays: Vec<BTreeMap<String, PathBuf>>) {
        self.overlays = overlays;
    }

    /// Takes a check-point if the last one is long ago. Each takes a place in the chain, so the time between two grows.
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

impl Running {
    /// Lets the guest go on writing to new overlays, and keeps what it wrote to until now, with its RAM where that is
    /// kept.
    pub fn leave_behind(&self, name: &str, overlays: BTreeMap<String, PathBuf>) -> Result<(Vec<DiskFile>, KeptRam)> {
        let ram = KeptRam { memory: self.keeps.beside(overlays.values().next()), fits: self.fits.clone() };
        self.disks().get_or_insert_default().made.extend(ram.files());
        let layers = match (&ram.memory, &self.keeps) {
            (Memory::Mapped(MappedMemory { ram, devices }), Keeps::Mapped(own)) => {
                // Most of it while the guest runs, and what that wrote meanwhile when it stands still.
                let catch_up = self.hypervisor.follow_ram(own, ram)?;
                self.standing_still(|| {
                    std::thread::scope(|scope| {
                        let copy = scope.spawn(&catch_up);
                        let layers = self.switch(name, overlays, None)?;
                        self.hypervisor.freeze(&self.domain, &Frozen::Devices(devices.clone()))?;
                        copy.join().unwrap_or_else(|_| Err(Error::bug("the copy of a guest's RAM broke")))?;
                        Ok(layers)
                    })
                })?
            }
            (Memory::External(image), _) => self.switch(name, overlays, Some(image.clone()))?,
            _ => self.switch(name, overlays, None)?,
        };
        self.forget_switch(name)?;
        ram.files().iter().try_for_each(|file| seal(file))?;
        Ok((disk_files(layers), ram))
    }

    /// Lets the guest write to new overlays; returns the ones that it leaves, which never change again. libvirt saves its
    /// RAM into `image` meanwhile, and remembers a snapshot of this name, until that is forgotten.
    pub fn switch(
        &self,
        name: &str,
        overlays: BTreeMap<String, PathBuf>,
        image: Option<PathBuf>,
    ) -> Result<BTreeMap<String, PathBuf>> {
        let mut disks = self.disks();
        let Some(disks) = disks.as_mut() else { return Err(Error::bug("a builder ended before it was kept")) };
        disks.made.extend(overlays.values().cloned());
        let is_reused = image.is_none();
        if is_reused {
            // A guest that stands still waits for less than when QEMU makes them.
            let backed = overlays.iter().filter_map(|(target, overlay)| Some((overlay, disks.overlays.get(target)?)));
            backed
                .into_iter()
                .try_for_each(|(overlay, on)| self.hypervisor.create_overlay(overlay, &Image::qcow2(on)))?;
        }
        self.hypervisor.create_snapshot(
            &self.domain,
            &SnapshotRequest {
                name: name.to_string(),
                comment: String::new(),
                kind: SnapshotKind::External,
                disks: overlays.iter().map(|(target, overlay)| (target.clone(), Some(overlay.clone()))).collect(),
                flags: SnapshotFlags {
                    disk_only: image.is_none(),
                    atomic: true,
                    reuse_external: is_reused,
                    ..SnapshotFlags::default()
                },
                memory: image,
            },
        )?;
        let layers = std::mem::replace(&mut disks.overlays, overlays);
        layers.values().try_for_each(|layer| seal(layer))?;
        Ok(layers)
    }

    pub fn forget_switch(&self, name: &str) -> Result<()> {
        self.hypervisor.delete_snapshot_metadata(&self.domain, name)
    }

    /// Stops the guest's processors while something is done, and lets them go on whatever came of it.
    pub fn standing_still<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        self.hypervisor.suspend(&self.domain)?;
        let done = act();
        self.hypervisor.resume(&self.domain).and(done)
    }
}

/// Names the disks of a builder as those of a snapshot are.
pub fn disk_files(layers: BTreeMap<String, PathBuf>) -> Vec<DiskFile> {
    layers.into_iter().map(|(target, file)| DiskFile { target, file, format: "qcow2".to_string() }).collect()
}
