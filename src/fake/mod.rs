//! A hypervisor in memory whose guests answer from a script, for recipes' own tests and ours.
//!
//! `fake:` keeps its state in the connection; `fake:PATH` keeps it in the JSON file `PATH`, which several processes may
//! use at once. Nothing ever boots: commands are answered from the state's `answers` or from `$SNAPTREE_FAKE_ANSWERS`,
//! and succeed without output where neither has an answer. What ran and what was started is in the state for tests to
//! look at.
//!
//! A guest's files are in the layer of its disk, the ones below `/mnt/TARGET` in that disk's, and the ones below `/run`
//! and `/dev/shm` in its RAM, so that a test can tell a resumed guest from one that booted.

mod answer;
mod bytes;
mod capture;
mod console;
mod disk;
mod document;
mod domains;
mod guest;
mod internal;
mod layers;
mod live;
mod memory;
mod power;
mod snapshots;
mod state;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use answer::Answer;
use console::FakeConsole;
use guest::FakeGuest;
use store::Store;

use crate::error::{Because, Error, Result};
use crate::hypervisor::{
    Accelerator, CatchUp, Clone, Console, DiskChanges, DiskFile, Document, Domain, DomainDetails, DomainSpec,
    Fingerprint, Frozen, Guest, Hypervisor, Image, Liveness, Neighbours, Ram, RevertFlags, Saved, Snapshot,
    SnapshotRequest, SnapshotSpec, Start, Version,
};
use crate::stop::Stop;

/// What the URIs begin with.
pub const SCHEME: &str = "fake:";

/// Names a JSON file with a list of answers, which go before the ones in the state.
const ANSWERS_VARIABLE: &str = "SNAPTREE_FAKE_ANSWERS";

/// Connects to `fake:` or `fake:PATH`. Each connection to `fake:` begins with an empty state.
///
/// Fails when `PATH` is no file that this could have written, or cannot be written.
pub fn connect(uri: &str) -> Result<Arc<dyn Hypervisor>> {
    let path = uri
        .strip_prefix(SCHEME)
        .ok_or_else(|| Error::usage(format!("`{uri}` is no fake connection")).hint("write `fake:` or `fake:PATH`"))?;
    let store = if path.is_empty() { Store::in_memory() } else { Store::in_file(Path::new(path))? };
    let answers = match std::env::var_os(ANSWERS_VARIABLE) {
        Some(path) => read_answers(&PathBuf::from(path))?,
        None => Vec::new(),
    };
    Ok(Arc::new(Fake { uri: uri.to_string(), store: Arc::new(store), answers: answers.into() }))
}

fn read_answers(path: &Path) -> Result<Vec<Answer>> {
    let failed = || format!("cannot read the fake guests' answers from `{}`", path.display());
    let text = std::fs::read_to_string(path).because(failed)?;
    serde_json::from_str(&text)
        .because(failed)
        .map_err(|error| error.hint(format!("${ANSWERS_VARIABLE} names a JSON file with a list of answers")))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to).map(drop).because(|| format!("cannot copy `{}`", from.display()))
}

struct Fake {
    uri: String,
    store: Arc<Store>,
    answers: Arc<[Answer]>,
}

impl Fake {
    fn fake_guest(&self, domain: &str) -> Result<FakeGuest> {
        self.store.look(|state| match state.record(domain)?.is_active() {
            true => Ok(()),
            false => Err(Error::failed(format!("domain `{domain}` is not running"))),
        })?;
        Ok(FakeGuest::new(domain, self.store.clone(), self.answers.clone()))
    }
}

impl Hypervisor for Fake {
    fn uri(&self) -> String {
        self.uri.clone()
    }

    fn version(&self) -> Result<Version> {
        self.store.look(|state| Ok(state.version.0))
    }

    fn accelerator(&self) -> Result<Accelerator> {
        Ok(Accelerator::Kvm)
    }

    fn is_simulated(&self) -> bool {
        true
    }

    fn domains(&self) -> Result<Vec<Domain>> {
        self.store.look(|state| Ok(state.list_domains()))
    }

    fn domain(&self, name: &str) -> Result<Option<DomainDetails>> {
        self.store.look(|state| state.find_domain(name))
    }

    fn live_document(&self, name: &str) -> Result<Document> {
        self.store.look(|state| state.record(name)?.now().print())
    }

    fn disk_images(&self, name: &str) -> Result<Vec<Image>> {
        self.store.look(|state| state.disk_images(name))
    }

    fn define(&self, spec: &DomainSpec) -> Result<()> {
        self.store.change(|state| state.define(spec))
    }

    fn redefine(&self, domain: &str, document: &Document, now: &Document, disks: &DiskChanges) -> Result<()> {
        self.store.change(|state| state.redefine(domain, document, now, disks))
    }

    fn undefine(&self, name: &str) -> Result<()> {
        self.store.change(|state| state.undefine(name))
    }

    fn snapshots(&self, domain: &str) -> Result<Vec<Snapshot>> {
        self.store.look(|state| state.list_snapshots(domain))
    }

    fn read_snapshot(&self, document: &Document) -> Result<Snapshot> {
        snapshots::read(document)
    }

    fn with_comment(&self, document: &Document, comment: &str) -> Result<Document> {
        snapshots::with_comment(document, comment)
    }

    fn create_snapshot(&self, domain: &str, request: &SnapshotRequest) -> Result<()> {
        self.store.change(|state| state.create_snapshot(domain, request))
    }

    fn revert_internal(&self, domain: &str, snapshot: &str, flags: RevertFlags) -> Result<()> {
        self.store.change(|state| state.revert_internal(domain, snapshot, flags))
    }

    fn delete_internal(&self, domain: &str, snapshot: &str) -> Result<()> {
        self.store.change(|state| state.delete_internal(domain, snapshot))
    }

    fn put_snapshot(&self, domain: &str, document: &Document, parent: Option<&str>, current: bool) -> Result<()> {
        self.store.change(|state| state.put_snapshot(domain, document, parent, current))
    }

    fn redefine_snapshot(&self, domain: &str, spec: &SnapshotSpec) -> Result<()> {
        self.store.change(|state| state.redefine_snapshot(domain, spec))
    }

    fn delete_snapshot_metadata(&self, domain: &str, snapshot: &str) -> Result<()> {
        self.store.change(|state| state.delete_snapshot(domain, snapshot))
    }

    fn emulator(&self) -> Result<String> {
        Ok(live::EMULATOR.to_string())
    }

    fn liveness(&self, document: Option<&Document>, _: &Path) -> Result<Liveness> {
        document.map_or(Ok(Liveness::Mapped), |document| Ok(live::liveness(&document::Document::parse(document)?)))
    }

    fn fingerprint(&self, document: &Document) -> Result<Fingerprint> {
        Ok(live::fingerprint(&document::Document::parse(document)?))
    }

    fn has_generation_id(&self, _: &Document) -> Result<bool> {
        Ok(false)
    }

    fn own_memory(&self, _: &str) -> Result<Option<u64>> {
        Ok(None)
    }

    fn obstacle_to_clone(&self, document: &Document) -> Result<Option<String>> {
        let document = document::Document::parse(document)?;
        Ok(document.host_devices.then(|| "it has a device of the host".to_string()))
    }

    fn obstacle_in(&self, extra_xml: &str) -> Result<Option<String>> {
        Ok(extra_xml.contains("<hostdev").then(|| "it has a device of the host".to_string()))
    }

    fn start_clone(&self, clone: &Clone) -> Result<()> {
        self.store.change(|state| state.start_clone(clone))
    }

    fn wake(&self, name: &str, _: &Ram, from: &Frozen, paused: bool) -> Result<()> {
        self.store.change(|state| state.wake(name, from, paused))
    }

    fn freeze(&self, name: &str, frozen: &Frozen) -> Result<()> {
        self.store.change(|state| state.freeze(name, frozen))
    }

    fn copy_ram(&self, from: &Path, to: &Path) -> Result<()> {
        copy(from, to)
    }

    fn freeze_running(&self, name: &str, file: &Path, meanwhile: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        self.suspend(name)?;
        meanwhile()?;
        self.freeze(name, &Frozen::Whole(file.to_path_buf()))
    }

    fn follow_ram(&self, from: &Path, to: &Path) -> Result<CatchUp> {
        self.copy_ram(from, to)?;
        let (from, to) = (from.to_path_buf(), to.to_path_buf());
        Ok(Box::new(move || copy(&from, &to)))
    }

    fn forward(&self, name: &str, guest_port: u16) -> Result<u16> {
        self.store.look(|state| state.forward(name, guest_port))
    }

    fn start(&self, name: &str, start: Start) -> Result<()> {
        self.store.change(|state| state.start(name, start))
    }

    fn attach(&self, name: &str, _: &Document, disk: &DiskFile) -> Result<()> {
        // A snapshot here has one description of its domain, so that no disk is a running guest's alone.
        Err(Error::bug(format!("fake `{name}` starts with disk `{}`", disk.target)))
    }

    fn shutdown(&self, name: &str) -> Result<()> {
        self.store.change(|state| state.shutdown(name))
    }

    fn suspend(&self, name: &str) -> Result<()> {
        self.store.change(|state| state.suspend(name))
    }

    fn resume(&self, name: &str) -> Result<()> {
        self.store.change(|state| state.resume(name))
    }

    fn save(&self, name: &str, file: &Path) -> Result<Saved> {
        self.store.change(|state| state.save(name, file)).map(|()| Saved::Written)
    }

    fn restore(&self, file: &Path, disks: &DiskChanges, paused: bool) -> Result<()> {
        self.store.change(|state| state.restore(file, disks, paused))
    }

    fn screenshot(&self, name: &str) -> Result<(String, Vec<u8>)> {
        let failed = || format!("cannot take a picture of the screen of `{name}`");
        self.store.look(|state| match state.record(name)?.is_active() {
            true => Ok(("image/png".to_string(), power::SCREEN.to_vec())),
            false => Err(Error::failed(failed()).cause(power::NOT_RUNNING)),
        })
    }

    fn pull(&self, name: &str, target: &str, stop: &Stop) -> Result<()> {
        stop.check(|| format!("pulling disk `{target}` of `{name}`"))?;
        self.store.change(|state| state.pull(name, target))
    }

    fn destroy(&self, name: &str) -> Result<()> {
        self.store.change(|state| {
            state.stop(name);
            Ok(())
        })
    }

    fn guest(&self, domain: &str) -> Result<Box<dyn Guest>> {
        Ok(Box::new(self.fake_guest(domain)?))
    }

    fn console(&self, domain: &str) -> Result<Box<dyn Console>> {
        Ok(Box::new(FakeConsole::new(self.fake_guest(domain)?)))
    }

    fn wait_until_gone(&self, domain: &str, stop: &Stop) -> Result<()> {
        const PAUSE: Duration = Duration::from_millis(10);
        while self.store.look(|state| Ok(state.is_active(domain)))? {
            stop.check(|| format!("waiting until `{domain}` is gone"))?;
            stop.sleep(PAUSE);
        }
        Ok(())
    }

    fn backing_chain(&self, image: &Image) -> Result<Vec<Image>> {
        // Which format an image has makes no difference here.
        self.store.look(|state| Ok(state.backing_chain(&image.file).into_iter().map(Image::qcow2).collect()))
    }

    fn depends_on(&self, file: &Path) -> Result<Vec<PathBuf>> {
        self.store.look(|state| state.depends_on(file))
    }

    fn files_named_in(&self, document: &Document) -> Result<Vec<PathBuf>> {
        document::files_in(document)
    }

    fn neighbours(&self) -> Neighbours {
        self.store.look(|state| Ok(state.neighbours())).unwrap_or_default()
    }

    fn data_file(&self, _: &Image) -> Result<Option<PathBuf>> {
        Ok(None)
    }

    fn create_overlay(&self, overlay: &Path, backing: &Image) -> Result<()> {
        self.store.change(|state| state.create_overlay(overlay, &backing.file))
    }

    fn copy_image(&self, from: &Image, to: &Path, _: Option<u64>) -> Result<()> {
        self.store.change(|state| state.copy_image(&from.file, to))
    }

    fn copy_internal(&self, image: &Path, snapshot: &str, to: &Path) -> Result<()> {
        self.store.change(|state| state.copy_internal(image, snapshot, to))
    }

    fn count_internal(&self, image: &Path, snapshot: &str) -> Result<usize> {
        self.store.look(|state| Ok(state.layers.get(image).map_or(0, |it| it.snapshots.contains_key(snapshot).into())))
    }

    fn flatten(&self, image: &Path) -> Result<()> {
        self.store.change(|state| state.flatten(image))
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_internal;
#[cfg(test)]
mod tests_power;
#[cfg(test)]
mod tests_snapshots;
#[cfg(test)]
mod tests_state;
