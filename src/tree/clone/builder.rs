//! Transient clones: the builder in which a branch is made, and the fork in which somebody tries something.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::event::{Event, Subject};
use crate::hypervisor::{
    Accelerator, Clone, Command, DiskFile, Exit, Fingerprint, Frozen, Guest, Hypervisor, Image, Input, MappedMemory,
    Memory, Stream,
};
use crate::name::SnapshotName;
use crate::stop::Stop;
use crate::tree::clone::checkpointer::{Checkpointer, disk_files};
use crate::tree::clone::ram::{Beginning, Keeps, Origin};
use crate::tree::files::made::NVRAM;
use crate::tree::files::store::seal;
use crate::tree::graft::layers::DEEPEST;
use crate::tree::kept::checkpoint::Checkpoint;
use crate::tree::kept::restores::count_restore;
use crate::tree::machine::clone_mark::{Purpose, clone_metadata};
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::record::ram::KeptRam;

const BOOT_LIMIT: Duration = Duration::from_secs(300);
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(180);
/// What was written shortly before a failure is worth a wait, but not a long one for a guest that hangs.
const SYNC_LIMIT: Duration = Duration::from_secs(20);
const FLATTEN_LIMIT: Duration = Duration::from_secs(3600);

/// A running transient clone of a snapshot on an overlay of its own. Dropping it destroys both.
pub struct Builder {
    running: Arc<Running>,
    guest: Arc<dyn Guest>,
    /// Whether the guest goes on from another one's state, and has not booted.
    pub(in crate::tree) goes_on: bool,
    /// Copies a chain that got too deep into the builder's own overlay while the step runs.
    flattening: Option<JoinHandle<Result<()>>>,
    /// The overlays that check-points may begin.
    spare: Vec<BTreeMap<String, PathBuf>>,
}

/// What a builder leaves behind.
pub struct Remains {
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
    pub keeps: Keeps,
    /// What its state fits.
    pub fits: Fingerprint,
    disks: Mutex<Option<Disks>>,
}

#[derive(Default)]
pub struct Disks {
    /// What the guest writes to, by target.
    pub overlays: BTreeMap<String, PathBuf>,
    /// Every file that was made for the domain and may be given away.
    pub made: Vec<PathBuf>,
    /// The files that it may have made for itself, which go with it.
    own: Vec<PathBuf>,
    /// The states on the way, the ones that others had made before included.
    pub checkpoints: Vec<Checkpoint>,
}

impl Builder {
    /// Starts a clone and waits until its guest answers: one that goes on where the origin's was, or one that boots. A
    /// branch keeps its RAM as `live` says.
    pub fn start(
        engine: &Engine,
        machine: &Machine,
        origin: &Origin,
        node: &SnapshotName,
        purpose: Purpose,
        live: Option<bool>,
    ) -> Result<Self> {
        if let Accelerator::Tcg(reason) = engine.hypervisor.accelerator()? {
            engine.note_once(reason);
        }
        let started = Instant::now();
        engine.store.create_directory(&machine.directory)?;
        let Beginning { ram, from, keeps, fits } = engine.beginning(machine, origin, node, purpose, live)?;
        let running = Running {
            hypervisor: Arc::clone(&engine.hypervisor),
            domain: machine.name.of_clone(purpose.word(), &engine.store.new_id()?),
            fits,
            disks: Mutex::new(Some(Disks { made: keeps.files(), ..Disks::default() })),
            keeps,
        };
        let new_overlay = || engine.store.new_file(&machine.directory, &node.slug(), "qcow2");
        let (mut deep, mut room) = (Vec::new(), DEEPEST);
        let mut overlays = BTreeMap::new();
        for layer in &origin.layers {
            let overlay = new_overlay()?;
            running.disks().get_or_insert_default().made.push(overlay.clone());
            running.hypervisor.create_overlay(&overlay, &layer.image())?;
            let depth = engine.depth(&Image::qcow2(&overlay))?;
            room = room.min(DEEPEST.saturating_sub(depth));
            if purpose.keeps_states() && depth > DEEPEST {
                deep.push(layer.target.clone());
            }
            overlays.insert(layer.target.clone(), overlay);
        }
        running.disks().get_or_insert_default().overlays = overlays.clone();
        let nvram = engine.store.new_file(&machine.directory, &node.slug(), NVRAM)?;
        running.disks().get_or_insert_default().own = Clone::own_files(&nvram).to_vec();
        let room = if purpose.keeps_states() { room } else { 0 };
        let spare = overlays_to_come(engine, machine, node, &overlays, room)?;
        let goes_on = from.is_some();
        running.hypervisor.start_clone(&Clone {
            name: running.domain.clone(),
            uuid: uuid::Uuid::new_v4().to_string(),
            document: origin.document.clone(),
            disks: overlays,
            nvram,
            ram,
            from,
            paused: false,
            metadata: clone_metadata(&engine.store, purpose, machine.name.as_str(), node.as_str()),
        })?;
        let flattening = (!deep.is_empty()).then(|| flatten(engine, &running.domain, deep));
        let guest: Arc<dyn Guest> = running.hypervisor.guest(&running.domain)?.into();
        let stop = Stop::after(BOOT_LIMIT, &engine.interrupt);
        let answers = if goes_on {
            guest.wake(&stop)
        } else {
            guest.wait_until_ready(&stop).and_then(|()| guest.wait_until_booted(&stop))
        };
        answers.map_err(|error| match error.kind {
            Kind::Interrupted => error,
            kind => Error::new(kind, format!("the guest of `{node}` does not answer"))
                .cause(error.message)
                .hint("the image needs the QEMU guest agent; images.debian and images.tiny have it"),
        })?;
        if goes_on && let Some(node) = machine.node(origin.name.as_str()).filter(|node| node.ram() == origin.ram) {
            let generation = engine.hypervisor.has_generation_id(&origin.document)?;
            count_restore(&machine.directory, node, |restores| restores.add(true, generation));
        }
        let subject = match purpose {
            Purpose::Build => Subject::node(&machine.name, node),
            Purpose::Fork | Purpose::KeptFork | Purpose::Work => Subject::fork(&machine.name, node, &running.domain),
        };
        engine.events.emit(Event::BuilderReady { subject, goes_on, took: started.elapsed() });
        Ok(Self { running: Arc::new(running), guest, goes_on, flattening, spare })
    }

    /// Returns what takes check-points while the step runs, after the ones that it goes on from.
    pub(in crate::tree) fn checkpointer(
        &mut self,
        engine: &Engine,
        before: Vec<Checkpoint>,
        after: Duration,
    ) -> Checkpointer {
        if let Some(disks) = self.running.disks().as_mut() {
            disks.checkpoints = before;
        }
        let (running, spare) = (Arc::downgrade(&self.running), std::mem::take(&mut self.spare));
        Checkpointer::new(running, spare, after, &engine.interrupt)
    }

    /// Names overlays of further states, as many as the backing chains have room for now.
    pub(in crate::tree) fn room_for_more(
        &self,
        engine: &Engine,
        machine: &Machine,
        node: &SnapshotName,
    ) -> Result<Vec<BTreeMap<String, PathBuf>>> {
        let now = self.running.disks().as_ref().map(|disks| disks.overlays.clone()).unwrap_or_default();
        let depths = now.values().map(|overlay| engine.depth(&Image::qcow2(overlay))).collect::<Result<Vec<_>>>()?;
        let deepest = depths.into_iter().max().unwrap_or_default();
        overlays_to_come(engine, machine, node, &now, DEEPEST.saturating_sub(deepest))
    }

    /// Runs the last command in the guest, handing its input and output over.
    pub fn run_last(
        &self,
        command: &Command,
        input: &Input,
        output: &mut dyn FnMut(Stream, &[u8]),
        stop: &Stop,
    ) -> Result<Exit> {
        self.guest.run_last(command, input, output, stop)
    }

    pub fn guest(&self) -> Arc<dyn Guest> {
        Arc::clone(&self.guest)
    }

    /// Lets the clone run on without this process.
    pub fn leave(self) {
        self.running.disks().take();
    }

    pub(in crate::tree) fn running(&self) -> &Running {
        &self.running
    }

    pub fn domain(&self) -> &str {
        &self.running.domain
    }

    /// Stops the guest after its step and keeps its overlays, with its RAM or after a clean shutdown.
    pub fn freeze(mut self, engine: &Engine, machine: &Machine, live: Option<bool>) -> Result<Remains> {
        if let Some(flattening) = self.flattening.take() {
            flattening.join().unwrap_or_else(|_| Err(Error::bug("the copy of a deep chain broke")))?;
        }
        let stop = Stop::after(SHUTDOWN_LIMIT, &engine.interrupt);
        if matches!(self.running.keeps, Keeps::Mapped(_) | Keeps::Saved) {
            // The disks alone are a state to start from, too.
            self.guest.settle(&stop)?;
            match self.running.keep_ram(engine, machine) {
                Ok(ram) => return self.running.remains(ram, true),
                Err(error) if live == Some(true) || error.kind == Kind::Interrupted => return Err(error),
                // Nothing of what the step did is lost.
                Err(why) => {
                    engine.events.note(format!("the RAM of `{}` is not kept: {why}", self.running.domain));
                    let _ = self.running.hypervisor.resume(&self.running.domain);
                }
            }
        }
        self.guest.shutdown(&stop)?;
        self.running.hypervisor.wait_until_gone(&self.running.domain, &stop)?;
        self.running.remains(KeptRam::NONE, true)
    }

    /// Stops the guest where it is and keeps its overlays as immutable layers, with its RAM where that can be.
    pub fn keep(self, engine: &Engine, machine: &Machine) -> Result<Remains> {
        // Without it the last seconds are missing, as after a power cut.
        let synced = self.guest.settle(&Stop::after(SYNC_LIMIT, &engine.interrupt));
        // A guest that hangs is looked at all the better by its disks.
        let ram = self.running.keep_ram(engine, machine).unwrap_or_default();
        self.running.hypervisor.destroy(&self.running.domain)?;
        self.running.remains(ram, synced.is_ok())
    }
}

/// Names the overlays of as many further states as there is room for.
fn overlays_to_come(
    engine: &Engine,
    machine: &Machine,
    node: &SnapshotName,
    now: &BTreeMap<String, PathBuf>,
    room: usize,
) -> Result<Vec<BTreeMap<String, PathBuf>>> {
    let new_overlay = || engine.store.new_file(&machine.directory, &node.slug(), "qcow2");
    let next = || now.keys().map(|target| Ok((target.clone(), new_overlay()?))).collect::<Result<_>>();
    (0..room).map(|_| next()).collect()
}

/// Makes a running domain's disks stand alone, beside what else is done.
fn flatten(engine: &Engine, domain: &str, targets: Vec<String>) -> JoinHandle<Result<()>> {
    let (hypervisor, domain) = (Arc::clone(&engine.hypervisor), domain.to_string());
    let stop = Stop::after(FLATTEN_LIMIT, &engine.interrupt);
    std::thread::spawn(move || targets.iter().try_for_each(|target| hypervisor.pull(&domain, target, &stop)))
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
    fn keep_ram(&self, engine: &Engine, machine: &Machine) -> Result<KeptRam> {
        let new_file = |what: &str| {
            let file = engine.store.new_file(&machine.directory, "live", what)?;
            self.disks().get_or_insert_default().made.push(file.clone());
            Ok(file)
        };
        let memory = match &self.keeps {
            Keeps::Disks | Keeps::Whole => return Ok(KeptRam::NONE),
            Keeps::Mapped(ram) => {
                let devices = new_file("devices")?;
                self.hypervisor.suspend(&self.domain)?;
                self.hypervisor.freeze(&self.domain, &Frozen::Devices(devices.clone()))?;
                Memory::Mapped(MappedMemory { ram: ram.clone(), devices })
            }
            Keeps::Saved => {
                let image = new_file("ram")?;
                self.hypervisor.freeze(&self.domain, &Frozen::Saved(image.clone()))?;
                Memory::External(image)
            }
        };
        self.hypervisor.destroy(&self.domain)?;
        Ok(KeptRam { memory, fits: self.fits.clone() })
    }

    /// Makes the overlays of a domain that is gone layers, which stay.
    fn remains(&self, ram: KeptRam, is_whole: bool) -> Result<Remains> {
        let mut disks = self.disks();
        let Some(ended) = disks.as_mut() else { return Err(Error::bug("a builder ended twice")) };
        let kept = ram.files();
        ended.overlays.values().chain(&kept).try_for_each(|file| seal(file))?;
        let Disks { overlays, checkpoints, own, .. } = disks.take().unwrap_or_default();
        own.into_iter().for_each(|file| drop(std::fs::remove_file(file)));
        self.keeps.files().iter().filter(|file| !kept.contains(file)).for_each(|file| drop(std::fs::remove_file(file)));
        Ok(Remains { layers: disk_files(overlays), ram, is_whole, checkpoints })
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
