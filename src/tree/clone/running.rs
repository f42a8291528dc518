//! The domain of a clone and its disks, and the layers that remain of it.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::hypervisor::{
    DiskFile, Fingerprint, Frozen, Hypervisor, Image, MappedMemory, Memory, SnapshotFlags, SnapshotKind,
    SnapshotRequest,
};
use crate::trace;
use crate::tree::clone::ram_policy::RamPolicy;
use crate::tree::files::store::seal;
use crate::tree::kept::checkpoint::Checkpoint;
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::record::ram::KeptRam;

/// The layers that remain of a builder.
pub struct BuildOutput {
    pub layers: Vec<DiskFile>,
    pub ram: KeptRam,
    /// Whether they have everything that the guest had written.
    pub is_whole: bool,
    pub checkpoints: Vec<Checkpoint>,
}

/// A domain and its disks, removed when dropped unless the disks were taken.
pub struct Running {
    pub hypervisor: Arc<dyn Hypervisor>,
    pub domain: String,
    pub keeps: RamPolicy,
    /// What its state is compatible with.
    pub fits: Fingerprint,
    pub disks: Mutex<Option<Disks>>,
}

#[derive(Default)]
pub struct Disks {
    /// The overlays that the guest writes to, by target.
    pub overlays: BTreeMap<String, PathBuf>,
    /// Every file that was made for the domain and can be handed over.
    pub made: Vec<PathBuf>,
    /// The files that it may have made for itself, which are removed with it.
    pub own: Vec<PathBuf>,
    /// The checkpoints on the way, including those that earlier clones made.
    pub checkpoints: Vec<Checkpoint>,
}

impl Running {
    pub fn disks(&self) -> MutexGuard<'_, Option<Disks>> {
        self.disks.lock()
    }

    /// Hands files over, so that they stay when the domain is removed; returns those that were its own.
    pub fn give_away(&self, files: &[PathBuf]) -> Vec<PathBuf> {
        let mut disks = self.disks();
        let Some(disks) = disks.as_mut() else { return Vec::new() };
        disks.made.extract_if(.., |file| files.contains(file)).collect()
    }

    /// Takes files over, which are then removed with the domain.
    pub fn take_over(&self, files: Vec<PathBuf>) {
        self.disks().get_or_insert_default().made.extend(files);
    }

    /// Returns the checkpoints taken so far.
    pub fn checkpoints(&self) -> Vec<Checkpoint> {
        self.disks().as_ref().map(|disks| disks.checkpoints.clone()).unwrap_or_default()
    }

    /// Keeps the guest's RAM in the chosen way, and ends the domain.
    pub fn keep_ram(&self, engine: &Engine, machine: &Machine) -> Result<KeptRam> {
        let new_file = |what: &str| {
            let file = engine.store.new_file(&machine.directory, "live", what)?;
            self.disks().get_or_insert_default().made.push(file.clone());
            Ok(file)
        };
        let memory = match &self.keeps {
            RamPolicy::Disks | RamPolicy::Whole => return Ok(KeptRam::NONE),
            RamPolicy::Mapped(ram) => {
                let devices = new_file("devices")?;
                self.hypervisor.suspend(&self.domain)?;
                self.hypervisor.freeze(&self.domain, &Frozen::Devices(devices.clone()))?;
                Memory::Mapped(MappedMemory { ram: ram.clone(), devices })
            }
            RamPolicy::Saved => {
                let image = new_file("ram")?;
                self.hypervisor.freeze(&self.domain, &Frozen::Saved(image.clone()))?;
                Memory::External(image)
            }
        };
        self.hypervisor.destroy(&self.domain)?;
        Ok(KeptRam { memory, fits: self.fits.clone() })
    }

    /// Turns the overlays of a domain that is gone into layers, which stay.
    pub fn remains(&self, ram: KeptRam, is_whole: bool) -> Result<BuildOutput> {
        let mut disks = self.disks();
        let Some(ended) = disks.as_mut() else { return Err(Error::bug("a builder ended twice")) };
        let kept = ram.files();
        ended.overlays.values().chain(&kept).try_for_each(|file| seal(file))?;
        let Disks { overlays, checkpoints, own, .. } = disks.take().unwrap_or_default();
        own.into_iter().for_each(|file| drop(std::fs::remove_file(file)));
        self.keeps.files().iter().filter(|file| !kept.contains(file)).for_each(|file| drop(std::fs::remove_file(file)));
        Ok(BuildOutput { layers: disk_files(overlays), ram, is_whole, checkpoints })
    }

    /// Switches the guest to new overlays, and keeps the old ones, with its RAM if that is kept.
    pub fn leave_behind(&self, name: &str, overlays: BTreeMap<String, PathBuf>) -> Result<(Vec<DiskFile>, KeptRam)> {
        let ram = KeptRam { memory: self.keeps.beside(overlays.values().next()), fits: self.fits.clone() };
        self.disks().get_or_insert_default().made.extend(ram.files());
        let layers = match (&ram.memory, &self.keeps) {
            (Memory::Mapped(MappedMemory { ram, devices }), RamPolicy::Mapped(own)) => {
                // Copies most of the RAM while the guest runs, then, with the guest stopped, the pages that it wrote
                // meanwhile.
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

    /// Switches the guest to new overlays; returns the old ones, which never change again. libvirt saves its RAM into
    /// `image` meanwhile, and has a snapshot of this name until its metadata is deleted.
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
            // Creating them here stops a guest for a shorter time than QEMU would.
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

    /// Stops the guest's processors during `act`, and resumes them whether or not it succeeds.
    pub fn standing_still<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        self.hypervisor.suspend(&self.domain)?;
        let done = act();
        self.hypervisor.resume(&self.domain).and(done)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(disks) = self.disks().take() {
            let _span = trace::span_of("destroy the clone", || self.domain.clone());
            // There is no caller to report an error to; the next run collects any remaining files.
            let _ = self.hypervisor.destroy(&self.domain);
            for file in disks.made.into_iter().chain(disks.own) {
                let _ = std::fs::remove_file(file);
            }
        }
    }
}

/// Lists the disks of a builder in the form of a snapshot's.
pub fn disk_files(layers: BTreeMap<String, PathBuf>) -> Vec<DiskFile> {
    layers.into_iter().map(|(target, file)| DiskFile { target, file, format: "qcow2".to_string() }).collect()
}
