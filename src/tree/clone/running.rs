//! The domain of a clone and its disks, and what it leaves behind.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::hypervisor::{
    DiskFile, Fingerprint, Frozen, Hypervisor, Image, MappedMemory, Memory, SnapshotFlags, SnapshotKind,
    SnapshotRequest,
};
use crate::tree::clone::ram::RamPolicy;
use crate::tree::files::store::seal;
use crate::tree::kept::checkpoint::Checkpoint;
use crate::tree::machine::engine::Engine;
use crate::tree::machine::seen::Machine;
use crate::tree::record::ram::KeptRam;

/// What a builder leaves behind.
pub struct BuildOutput {
    pub layers: Vec<DiskFile>,
    pub ram: KeptRam,
    /// Whether all that the guest had written is in them.
    pub is_whole: bool,
    pub checkpoints: Vec<Checkpoint>,
}

/// A domain and its disks, removed on drop unless the disks were taken.
pub struct Running {
    pub hypervisor: Arc<dyn Hypervisor>,
    pub domain: String,
    pub keeps: RamPolicy,
    /// What its state fits.
    pub fits: Fingerprint,
    pub disks: Mutex<Option<Disks>>,
}

#[derive(Default)]
pub struct Disks {
    /// What the guest writes to, by target.
    pub overlays: BTreeMap<String, PathBuf>,
    /// Every file that was made for the domain and may be given away.
    pub made: Vec<PathBuf>,
    /// The files that it may have made for itself, which go with it.
    pub own: Vec<PathBuf>,
    /// The states on the way, the ones that others had made before included.
    pub checkpoints: Vec<Checkpoint>,
}

impl Running {
    pub fn disks(&self) -> MutexGuard<'_, Option<Disks>> {
        self.disks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves files to somebody else, so that they stay when the domain goes; returns those that were its own.
    pub fn give_away(&self, files: &[PathBuf]) -> Vec<PathBuf> {
        let mut disks = self.disks();
        let Some(disks) = disks.as_mut() else { return Vec::new() };
        disks.made.extract_if(.., |file| files.contains(file)).collect()
    }

    /// Takes files over, which go when the domain goes.
    pub fn take_over(&self, files: Vec<PathBuf>) {
        self.disks().get_or_insert_default().made.extend(files);
    }

    /// Returns the check-points that were taken so far.
    pub fn checkpoints(&self) -> Vec<Checkpoint> {
        self.disks().as_ref().map(|disks| disks.checkpoints.clone()).unwrap_or_default()
    }

    /// Keeps the guest's RAM as it is to be kept, and ends the domain.
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

    /// Makes the overlays of a domain that is gone layers, which stay.
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

    /// Lets the guest go on writing to new overlays, and keeps what it wrote to until now, with its RAM where that is
    /// kept.
    pub fn leave_behind(&self, name: &str, overlays: BTreeMap<String, PathBuf>) -> Result<(Vec<DiskFile>, KeptRam)> {
        let ram = KeptRam { memory: self.keeps.beside(overlays.values().next()), fits: self.fits.clone() };
        self.disks().get_or_insert_default().made.extend(ram.files());
        let layers = match (&ram.memory, &self.keeps) {
            (Memory::Mapped(MappedMemory { ram, devices }), RamPolicy::Mapped(own)) => {
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

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(disks) = self.disks().take() {
            // Nobody is left to tell; what stays behind is collected by the next run.
            let _ = self.hypervisor.destroy(&self.domain);
            for file in disks.made.into_iter().chain(disks.own) {
                let _ = std::fs::remove_file(file);
            }
        }
    }
}

/// Names the disks of a builder as those of a snapshot are.
pub fn disk_files(layers: BTreeMap<String, PathBuf>) -> Vec<DiskFile> {
    layers.into_iter().map(|(target, file)| DiskFile { target, file, format: "qcow2".to_string() }).collect()
}
