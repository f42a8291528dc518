//! Transient clones: the builder of a branch, and the forks that users work in.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::event::{Event, Subject};
use crate::hypervisor::{Accelerator, CloneSpec, Connections, Guest, Image, OpenForward};
use crate::name::SnapshotName;
use crate::stop::Stop;
use crate::trace;
use crate::tree::clone::checkpointer::Checkpointer;
use crate::tree::clone::origin::Origin;
use crate::tree::clone::ram::{Beginning, beginning};
use crate::tree::clone::ram_policy::RamPolicy;
use crate::tree::clone::running::{BuildOutput, Disks, Running};
use crate::tree::files::made::NVRAM;
use crate::tree::graft::layers::{DEEPEST, depth};
use crate::tree::kept::checkpoint::Checkpoint;
use crate::tree::kept::restores::count_restore;
use crate::tree::machine::clone_mark::{Purpose, clone_metadata};
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::machine::time_limits::{ANSWER_LIMIT, FLATTEN_LIMIT, SHUTDOWN_LIMIT, SYNC_AFTER_FAILURE_LIMIT};
use crate::tree::record::ram::KeptRam;

/// A running transient clone of a snapshot, on its own overlay. Dropping it destroys both.
pub struct Builder {
    /// The ports that are forwarded through its channel; closed before all else ends.
    forwards: Mutex<Vec<OpenForward>>,
    running: Arc<Running>,
    guest: Arc<dyn Guest>,
    /// Whether the guest was resumed from another one's state instead of booting.
    pub(in crate::tree) is_resumed: bool,
    /// Flattens a chain that got too deep into the builder's own overlay while the step runs.
    flattening: Option<JoinHandle<Result<()>>>,
    /// The next overlays for checkpoints.
    spare: Vec<BTreeMap<String, PathBuf>>,
}

impl Builder {
    /// Starts a clone and waits until its guest answers, resumed from the origin's state or booted. A branch keeps its
    /// RAM according to `live`. What a resumed guest had open to something outside of it is treated as `connections`
    /// says.
    pub fn start(
        engine: &Engine,
        machine: &Machine,
        origin: &Origin,
        node: &SnapshotName,
        purpose: Purpose,
        live: Option<bool>,
        connections: Connections,
    ) -> Result<Self> {
        if let Accelerator::Tcg(reason) = engine.hypervisor.accelerator()? {
            engine.note_once(reason);
        }
        let started = Instant::now();
        let span = trace::span("plan the clone");
        engine.store.create_directory(&machine.directory)?;
        let Beginning { ram, from, keeps, fits } = beginning(engine, machine, origin, node, purpose, live)?;
        let running = Running {
            hypervisor: Arc::clone(&engine.hypervisor),
            domain: machine.name.of_clone(purpose.word(), &engine.store.new_id()?),
            fits,
            disks: Mutex::new(Some(Disks { made: keeps.files(), ..Disks::default() })),
            keeps,
        };
        drop(span);
        let span = trace::span("create overlays");
        let NewOverlays { overlays, deep, room } = create_overlays(engine, machine, origin, node, purpose, &running)?;
        let nvram = engine.store.new_file(&machine.directory, &node.slug(), NVRAM)?;
        running.disks().get_or_insert_default().own = CloneSpec::own_files(&nvram).to_vec();
        let spare = overlays_to_come(engine, machine, node, &overlays, room)?;
        let is_resumed = from.is_some();
        drop(span);
        let span = trace::span_of("start clone", || running.domain.clone());
        running.hypervisor.start_clone(&CloneSpec {
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
        drop(span);
        let flattening = (!deep.is_empty()).then(|| flatten(engine, &running.domain, deep));
        let guest: Arc<dyn Guest> = running.hypervisor.guest(&running.domain)?.into();
        let span = trace::span("wait for the guest");
        let stop = Stop::after(ANSWER_LIMIT, &engine.interrupt);
        let how = is_resumed.then_some(connections);
        if let Some(why) = wait_for_guest(guest.as_ref(), how, node, &stop)? {
            engine.note_once(format!(
                "the connections that the guest of `{}` had open are not reset: {why}",
                origin.name
            ));
        }
        if is_resumed {
            note_restore(engine, machine, origin)?;
        } else if let Some(why) = guest.obstacle(&stop)? {
            let name = &machine.name;
            engine.note_once(format!("the guest agent of `{name}` does everything, which is slower: {why}"));
        }
        drop(span);
        let subject = match purpose {
            Purpose::Build => Subject::node(&machine.name, node),
            Purpose::Fork | Purpose::KeptFork | Purpose::Work => Subject::fork(&machine.name, node, &running.domain),
        };
        engine.events.emit(Event::BuilderReady { subject, is_resumed, took: started.elapsed() });
        let forwards = Mutex::default();
        Ok(Self { forwards, running: Arc::new(running), guest, is_resumed, flattening, spare })
    }

    /// Returns the checkpointer for the step, which continues after the checkpoints that the builder resumes from.
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

    /// Names the overlays for further checkpoints, as many as the backing chains now have room for.
    pub(in crate::tree) fn room_for_more(
        &self,
        engine: &Engine,
        machine: &Machine,
        node: &SnapshotName,
    ) -> Result<Vec<BTreeMap<String, PathBuf>>> {
        let now = self.running.disks().as_ref().map(|disks| disks.overlays.clone()).unwrap_or_default();
        let depths = now.values().map(|overlay| depth(engine, &Image::qcow2(overlay))).collect::<Result<Vec<_>>>()?;
        let deepest = depths.into_iter().max().unwrap_or_default();
        overlays_to_come(engine, machine, node, &now, DEEPEST.saturating_sub(deepest))
    }

    pub fn guest(&self) -> Arc<dyn Guest> {
        Arc::clone(&self.guest)
    }

    /// Keeps a forwarded port open as long as the clone is there.
    pub(in crate::tree) fn hold(&self, open: OpenForward) {
        self.forwards.lock().push(open);
    }

    /// Lets the clone keep running without this process.
    pub fn leave(self) {
        self.running.disks().take();
    }

    /// Lists the files that are removed with the clone.
    pub fn files(&self) -> Vec<PathBuf> {
        let disks = self.running.disks();
        disks.iter().flat_map(|disks| disks.made.iter().chain(&disks.own)).cloned().collect()
    }

    pub(in crate::tree) fn running(&self) -> &Running {
        &self.running
    }

    pub fn domain(&self) -> &str {
        &self.running.domain
    }

    /// Stops the guest after its step and keeps its overlays, with its RAM or after a clean shutdown.
    pub fn freeze(mut self, engine: &Engine, machine: &Machine, live: Option<bool>) -> Result<BuildOutput> {
        if let Some(flattening) = self.flattening.take() {
            flattening.join().unwrap_or_else(|_| Err(Error::bug("the copy of a deep chain broke")))?;
        }
        let stop = Stop::after(SHUTDOWN_LIMIT, &engine.interrupt);
        if matches!(self.running.keeps, RamPolicy::Mapped(_) | RamPolicy::Saved) {
            // A branch can also start from the disks alone.
            self.guest.settle(&stop)?;
            match self.running.keep_ram(engine, machine) {
                Ok(ram) => return self.running.remains(ram, true),
                Err(error) if live == Some(true) || error.kind == Kind::Interrupted => return Err(error),
                // Nothing that the step did is lost.
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

    /// Stops the guest where it is and keeps its overlays as immutable layers, with its RAM if possible.
    pub fn keep(self, engine: &Engine, machine: &Machine) -> Result<BuildOutput> {
        // Without a sync the last seconds would be missing, as after a power cut.
        let synced = self.guest.settle(&Stop::after(SYNC_AFTER_FAILURE_LIMIT, &engine.interrupt));
        // A hanging guest is easier to examine from its disks.
        let ram = self.running.keep_ram(engine, machine).unwrap_or_default();
        self.running.hypervisor.destroy(&self.running.domain)?;
        self.running.remains(ram, synced.is_ok())
    }
}

/// The overlays of a new clone.
struct NewOverlays {
    overlays: BTreeMap<String, PathBuf>,
    /// The disks whose backing chain is too deep to be kept as it is.
    deep: Vec<String>,
    /// How many further overlays the chains have room for; 0 if the clone keeps no states.
    room: usize,
}

/// Makes an overlay on each layer of the origin.
fn create_overlays(
    engine: &Engine,
    machine: &Machine,
    origin: &Origin,
    node: &SnapshotName,
    purpose: Purpose,
    running: &Running,
) -> Result<NewOverlays> {
    let (mut overlays, mut deep, mut room) = (BTreeMap::new(), Vec::new(), DEEPEST);
    for layer in &origin.layers {
        let overlay = engine.store.new_file(&machine.directory, &node.slug(), "qcow2")?;
        running.disks().get_or_insert_default().made.push(overlay.clone());
        running.hypervisor.create_overlay(&overlay, &layer.image())?;
        let depth = depth(engine, &Image::qcow2(&overlay))?;
        room = room.min(DEEPEST.saturating_sub(depth));
        if depth > DEEPEST {
            deep.push(layer.target.clone());
        }
        overlays.insert(layer.target.clone(), overlay);
    }
    running.disks().get_or_insert_default().overlays = overlays.clone();
    if !purpose.keeps_states() {
        (deep, room) = (Vec::new(), 0);
    }
    Ok(NewOverlays { overlays, deep, room })
}

/// Waits until the guest of `node` answers: resumed, with its connections treated so, or booted. Says why these could not
/// be reset.
fn wait_for_guest(
    guest: &dyn Guest,
    resumed: Option<Connections>,
    node: &SnapshotName,
    stop: &Stop,
) -> Result<Option<String>> {
    let answers = match resumed {
        Some(connections) => guest.wake(connections, stop),
        None => guest.wait_until_ready(stop).and_then(|()| guest.wait_until_booted(stop)).map(|()| None),
    };
    answers.map_err(|error| match error.kind {
        Kind::Interrupted => error,
        kind => Error::new(kind, format!("the guest of `{node}` does not answer"))
            .cause(error.message)
            .hint("the image needs the QEMU guest agent; images.debian and images.tiny have it"),
    })
}

/// Counts the resumption of a snapshot's own RAM.
fn note_restore(engine: &Engine, machine: &Machine, origin: &Origin) -> Result<()> {
    if let Some(node) = machine.node(origin.name.as_str()).filter(|node| node.ram() == origin.ram) {
        let generation = engine.hypervisor.has_generation_id(&origin.document)?;
        count_restore(&machine.directory, node, |restores| restores.add(true, generation));
    }
    Ok(())
}

/// Names the overlays for as many further checkpoints as there is room for.
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

/// Flattens a running domain's disks in the background.
fn flatten(engine: &Engine, domain: &str, targets: Vec<String>) -> JoinHandle<Result<()>> {
    let (hypervisor, domain) = (Arc::clone(&engine.hypervisor), domain.to_string());
    let stop = Stop::after(FLATTEN_LIMIT, &engine.interrupt);
    std::thread::spawn(move || targets.iter().try_for_each(|target| hypervisor.pull(&domain, target, &stop)))
}
