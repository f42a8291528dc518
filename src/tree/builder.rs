//! Transient clones: the builder in which a branch is made, and the fork in which somebody tries something.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::chain::DEEPEST;
use super::checkpoint::{Checkpoint, Checkpointer, disk_files};
use super::engine::{Engine, Machine};
use super::event::{Event, Subject};
use super::store::seal;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::{Accelerator, Clone, DiskFile, Document, Guest, Hypervisor, Metadata};
use crate::name::SnapshotName;
use crate::stop::Stop;

const BOOT_LIMIT: Duration = Duration::from_secs(300);
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(180);
/// What was written shortly before a failure is worth a wait, but not a long one for a guest that hangs.
const SYNC_LIMIT: Duration = Duration::from_secs(20);
const FLATTEN_LIMIT: Duration = Duration::from_secs(3600);

/// What a transient clone is for; the word is in its domain's name and metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Build,
    Fork,
}

impl Purpose {
    pub fn word(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Fork => "fork",
        }
    }
}

/// A running transient clone of a snapshot on an overlay of its own. Dropping it destroys both.
pub struct Builder {
    running: Arc<Running>,
    guest: Arc<dyn Guest>,
    /// Copies a chain that got too deep into the builder's own overlay while the step runs.
    flattening: Option<JoinHandle<Result<()>>>,
    /// The overlays that check-points may begin.
    spare: Vec<BTreeMap<String, PathBuf>>,
}

/// What a builder leaves behind.
pub struct Remains {
    pub layers: Vec<DiskFile>,
    /// Whether all that the guest had written is in them.
    pub is_whole: bool,
    pub checkpoints: Vec<Checkpoint>,
}

/// A domain and its disks, removed on drop unless the disks were taken.
pub struct Running {
    pub hypervisor: Arc<dyn Hypervisor>,
    pub domain: String,
    disks: Mutex<Option<Disks>>,
}

#[derive(Default)]
pub struct Disks {
    /// What the guest writes to, by target.
    pub overlays: BTreeMap<String, PathBuf>,
    /// Every file that was made for the domain.
    pub made: Vec<PathBuf>,
    /// The states on the way, the ones that others had made before included.
    pub checkpoints: Vec<Checkpoint>,
}

impl Builder {
    /// Boots a clone of the domain in `document` on these layers and waits until its guest answers.
    pub fn boot(
        engine: &Engine,
        machine: &Machine,
        document: &Document,
        layers: &[DiskFile],
        node: &SnapshotName,
        purpose: Purpose,
    ) -> Result<Self> {
        if let Accelerator::Tcg(reason) = engine.hypervisor.accelerator()? {
            engine.note_once(reason);
        }
        let started = Instant::now();
        let running = Running {
            hypervisor: Arc::clone(&engine.hypervisor),
            domain: format!("{}.{}-{}", machine.name, purpose.word(), engine.store.new_id()?),
            disks: Mutex::new(Some(Disks::default())),
        };
        engine.store.create_directory(&machine.directory)?;
        let new_overlay = || engine.store.new_file(&machine.directory, &node.slug(), "qcow2");
        let (mut deep, mut room) = (Vec::new(), DEEPEST);
        let mut overlays = BTreeMap::new();
        for layer in layers {
            let overlay = new_overlay()?;
            running.disks().get_or_insert_default().made.push(overlay.clone());
            running.hypervisor.create_overlay(&overlay, &layer.file)?;
            let depth = engine.depth(&overlay)?;
            room = room.min(DEEPEST.saturating_sub(depth));
            if purpose == Purpose::Build && depth > DEEPEST {
                deep.push(layer.target.clone());
            }
            overlays.insert(layer.target.clone(), overlay);
        }
        running.disks().get_or_insert_default().overlays = overlays.clone();
        let mut spare = Vec::new();
        while purpose == Purpose::Build && spare.len() < room {
            let next = overlays.keys().map(|target| Ok((target.clone(), new_overlay()?)));
            spare.push(next.collect::<Result<_>>()?);
        }
        running.hypervisor.start_clone(&Clone {
            name: running.domain.clone(),
            uuid: uuid::Uuid::new_v4().to_string(),
            document: document.clone(),
            disks: overlays,
            metadata: clone_metadata(purpose, machine.name.as_str(), node.as_str()),
        })?;
        let flattening = (!deep.is_empty()).then(|| flatten(engine, &running.domain, deep));
        let guest: Arc<dyn Guest> = running.hypervisor.guest(&running.domain)?.into();
        let stop = Stop::after(BOOT_LIMIT, &engine.interrupt);
        guest.wait_until_ready(&stop).and_then(|()| guest.wait_until_booted(&stop)).map_err(|error| {
            match error.kind {
                Kind::Interrupted => error,
                kind => Error::new(kind, format!("the guest of `{node}` does not answer"))
                    .cause(error.message)
                    .hint("the image needs the QEMU guest agent; images.debian and images.tiny have it"),
            }
        })?;
        engine
            .events
            .emit(Event::BuilderReady { subject: Subject::node(&machine.name, node), took: started.elapsed() });
        Ok(Self { running: Arc::new(running), guest, flattening, spare })
    }

    /// Returns what takes check-points while the step runs, after the ones that it goes on from.
    pub(super) fn checkpointer(&mut self, engine: &Engine, before: Vec<Checkpoint>) -> Checkpointer {
        if let Some(disks) = self.running.disks().as_mut() {
            disks.checkpoints = before;
        }
        let (running, spare) = (Arc::downgrade(&self.running), std::mem::take(&mut self.spare));
        Checkpointer::new(running, spare, engine.checkpoint_after, &engine.interrupt)
    }

    pub fn guest(&self) -> Arc<dyn Guest> {
        Arc::clone(&self.guest)
    }

    pub fn domain(&self) -> &str {
        &self.running.domain
    }

    /// Shuts the guest down cleanly and keeps its overlays as immutable layers.
    pub fn freeze(mut self, engine: &Engine) -> Result<Remains> {
        if let Some(flattening) = self.flattening.take() {
            flattening.join().unwrap_or_else(|_| Err(Error::bug("the copy of a deep chain broke")))?;
        }
        let stop = Stop::after(SHUTDOWN_LIMIT, &engine.interrupt);
        self.guest.shutdown(&stop)?;
        self.running.hypervisor.wait_until_gone(&self.running.domain, &stop)?;
        self.running.remains(true)
    }

    /// Stops the guest where it is and keeps its overlays as immutable layers.
    pub fn keep(self, engine: &Engine) -> Result<Remains> {
        // Without it the last seconds are missing, as after a power cut.
        let synced = self.guest.sync(&Stop::after(SYNC_LIMIT, &engine.interrupt));
        self.running.hypervisor.destroy(&self.running.domain)?;
        self.running.remains(synced.is_ok())
    }
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

    /// Makes the overlays of a domain that is gone layers, which stay.
    fn remains(&self, is_whole: bool) -> Result<Remains> {
        let mut disks = self.disks();
        let Some(ended) = disks.as_ref() else { return Err(Error::bug("a builder ended twice")) };
        ended.overlays.values().try_for_each(|layer| seal(layer))?;
        let Disks { overlays, checkpoints, .. } = disks.take().unwrap_or_default();
        Ok(Remains { layers: disk_files(overlays), is_whole, checkpoints })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(disks) = self.disks().take() {
            // Nobody is left to tell; what stays behind is collected by the next run.
            let _ = self.hypervisor.destroy(&self.domain);
            for file in disks.made {
                let _ = std::fs::remove_file(file);
            }
        }
    }
}

fn clone_metadata(purpose: Purpose, machine: &str, node: &str) -> Metadata {
    let attributes = [("kind", purpose.word()), ("machine", machine), ("node", node)]
        .map(|(name, value)| (name.to_string(), value.to_string()));
    Metadata { attributes: BTreeMap::from(attributes), ..Metadata::default() }
}

/// Says whether a domain's metadata marks it as a transient clone of `machine`.
pub fn is_clone_of(metadata: Option<&Metadata>, machine: &str) -> bool {
    metadata.is_some_and(|metadata| {
        let attribute = |name: &str| metadata.attributes.get(name).map(String::as_str);
        attribute("machine") == Some(machine)
            && matches!(attribute("kind"), Some(kind) if [Purpose::Build, Purpose::Fork].iter().any(|p| p.word() == kind))
    })
}
