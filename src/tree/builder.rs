//! Transient clones: the builder in which a branch is made, and the fork in which somebody tries something.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::chain::DEEPEST;
use super::engine::{Engine, Machine};
use super::event::Event;
use super::store::seal;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::{Accelerator, Clone, DiskFile, Guest, Hypervisor, Metadata, Snapshot};
use crate::stop::Stop;

const BOOT_LIMIT: Duration = Duration::from_secs(300);
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(180);
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
    running: Running,
    guest: Arc<dyn Guest>,
    /// Copies a chain that got too deep into the builder's own overlay while the step runs.
    flattening: Option<JoinHandle<Result<()>>>,
}

/// A domain and its overlays by target, removed on drop unless the overlays were taken.
struct Running {
    hypervisor: Arc<dyn Hypervisor>,
    domain: String,
    overlays: Option<BTreeMap<String, PathBuf>>,
}

impl Builder {
    /// Boots a clone of `snapshot` and waits until its guest answers.
    pub fn boot(
        engine: &Engine,
        machine: &Machine,
        snapshot: &Snapshot,
        layers: &[DiskFile],
        node: &str,
        purpose: Purpose,
    ) -> Result<Self> {
        if let Accelerator::Tcg(reason) = engine.hypervisor.accelerator()? {
            engine.note_once(reason);
        }
        let started = Instant::now();
        let mut running = Running {
            hypervisor: Arc::clone(&engine.hypervisor),
            domain: format!("{}.{}-{}", machine.name, purpose.word(), engine.store.new_id()?),
            overlays: Some(BTreeMap::new()),
        };
        engine.store.create_directory(&machine.directory)?;
        let mut deep = Vec::new();
        for layer in layers {
            let overlay = engine.store.new_file(&machine.directory, &crate::name::slug(node), "qcow2")?;
            running.overlays.get_or_insert_default().insert(layer.target.clone(), overlay.clone());
            running.hypervisor.create_overlay(&overlay, &layer.file)?;
            if purpose == Purpose::Build && engine.depth(&overlay)? > DEEPEST {
                deep.push(layer.target.clone());
            }
        }
        running.hypervisor.start_clone(&Clone {
            name: running.domain.clone(),
            uuid: uuid::Uuid::new_v4().to_string(),
            document: snapshot.document.clone(),
            disks: running.overlays.clone().unwrap_or_default(),
            metadata: clone_metadata(purpose, machine.name.as_str(), node),
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
        engine.events.emit(Event::BuilderReady { node: node.to_string(), took: started.elapsed() });
        Ok(Self { running, guest, flattening })
    }

    pub fn guest(&self) -> Arc<dyn Guest> {
        Arc::clone(&self.guest)
    }

    /// Shuts the guest down cleanly and keeps its overlays, by target, as immutable layers.
    pub fn freeze(mut self, engine: &Engine) -> Result<BTreeMap<String, PathBuf>> {
        if let Some(flattening) = self.flattening.take() {
            flattening.join().unwrap_or_else(|_| Err(Error::bug("the copy of a deep chain broke")))?;
        }
        let stop = Stop::after(SHUTDOWN_LIMIT, &engine.interrupt);
        self.guest.shutdown(&stop)?;
        self.running.hypervisor.wait_until_gone(&self.running.domain, &stop)?;
        let Some(layers) = self.running.overlays.take() else {
            return Err(Error::bug("a builder was frozen twice"));
        };
        layers.values().try_for_each(|layer| seal(layer))?;
        Ok(layers)
    }
}

/// Makes a running domain's disks stand alone, beside what else is done.
fn flatten(engine: &Engine, domain: &str, targets: Vec<String>) -> JoinHandle<Result<()>> {
    let (hypervisor, domain) = (Arc::clone(&engine.hypervisor), domain.to_string());
    let stop = Stop::after(FLATTEN_LIMIT, &engine.interrupt);
    std::thread::spawn(move || targets.iter().try_for_each(|target| hypervisor.pull(&domain, target, &stop)))
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(overlays) = &self.overlays {
            // Nobody is left to tell; what stays behind is collected by the next run.
            let _ = self.hypervisor.destroy(&self.domain);
            for overlay in overlays.values() {
                let _ = std::fs::remove_file(overlay);
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
