//! Forks: throw-away running clones of a snapshot, and turning one that is worth keeping into a branch.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::event::Subject;
use crate::hypervisor::{CloneSpec, Connections, DiskFile, Document, Frozen, MappedMemory, Memory, Metadata, Ram};
use crate::name::{SnapshotName, SnapshotPath};
use crate::stop::Stop;
use crate::trace;
use crate::tree::build::branch::graft_as;
use crate::tree::build::branch_spec::BranchSpec;
use crate::tree::clone::builder::Builder;
use crate::tree::clone::origin::{Origin, origin};
use crate::tree::clone::ram::why_not_live;
use crate::tree::clone::ram_policy::RamPolicy;
use crate::tree::clone::running::{BuildOutput, disk_files};
use crate::tree::files::made::NVRAM;
use crate::tree::files::store::seal;
use crate::tree::graft::sweep::sweep;
use crate::tree::kept::checkpoint::files;
use crate::tree::kept::failed_node::failed_node;
use crate::tree::kept::restores::count_restore;
use crate::tree::machine::clone_mark::Purpose;
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::machine::time_limits::{IDENTITY_LIMIT, SYNC_LIMIT};
use crate::tree::record::journal::Journal;
use crate::tree::record::node_id::NodeId;
use crate::tree::record::ram::KeptRam;
use crate::tree::step::live_session::LiveSession;

/// How a fork is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct ForkOptions {
    /// It keeps running until it is stopped.
    pub is_kept: bool,
    /// Fail if its guest would have to boot.
    pub require_live: bool,
    /// What becomes of the connections that its guest had open, if it resumes.
    pub connections: Connections,
    /// Give its system an identity of its own: the machine id, the host name, the SSH host keys, the DHCP lease.
    pub new_identity: bool,
}

/// The script that the guest runs for `identity`.
const NEW_IDENTITY: &str = include_str!("identity.sh");

/// Starts a fork of a snapshot: its guest resumes from the snapshot's state, or boots if that has no RAM. Dropping
/// the returned value removes the fork.
pub fn fork(engine: &Engine, path: &SnapshotPath, options: ForkOptions) -> Result<Builder> {
    let span = trace::span("look at the machine");
    sweep(engine, &path.machine)?;
    let machine = engine.existing(&path.machine)?;
    let node = machine.existing(&path.snapshot).map_err(|error| {
        match failed_node(&machine.name, &machine.directory, &path.snapshot) {
            Ok(_) => error.hint("its step failed; `--failed` uses its last state"),
            Err(_) => error,
        }
    })?;
    let origin = origin(engine, &machine, node)?;
    drop(span);
    start_fork(engine, &machine, &origin, options)
}

/// Starts a fork of a failed branch's last state.
pub fn fork_failed(engine: &Engine, path: &SnapshotPath, options: ForkOptions) -> Result<Builder> {
    sweep(engine, &path.machine)?;
    let machine = engine.existing(&path.machine)?;
    let failed = failed_node(&machine.name, &machine.directory, &path.snapshot)?;
    if let Some(missing) = failed.files().iter().find(|file| !file.exists()) {
        return Err(Error::failed(format!("the failed `{path}` cannot be cloned"))
            .cause(format!("its layer `{}` is missing", missing.display()))
            .hint("run the script again to rebuild the branch"));
    }
    let (name, ram) = (path.snapshot.clone(), failed.ram);
    let origin = Origin { name, document: failed.document, layers: failed.layers, ram };
    start_fork(engine, &machine, &origin, options)
}

fn start_fork(engine: &Engine, machine: &Machine, origin: &Origin, options: ForkOptions) -> Result<Builder> {
    if options.require_live
        && let Some(why) = why_not_live(engine, origin)?
    {
        return Err(Error::failed(format!("the guest of `{}` would have to boot", origin.name))
            .cause(why)
            .hint("do not require a live fork, and it boots from its disks"));
    }
    let purpose = if options.is_kept { Purpose::KeptFork } else { Purpose::Fork };
    Builder::start(engine, machine, origin, &origin.name, purpose, None, options.connections)
}

/// Returns a session that carries operations out in a fork of a snapshot and records them, first the ones that
/// `options` ask for.
pub fn session_in(engine: &Engine, fork: &Builder, of: &SnapshotPath, options: ForkOptions) -> Result<LiveSession> {
    let subject = Subject::fork(&of.machine, &of.snapshot, fork.domain());
    let session = LiveSession::new(subject, fork.guest(), engine.events.clone(), engine.interrupt.clone())
        .with_console(engine.serial(fork.domain()))
        .concurrent();
    if options.new_identity {
        session.run(NEW_IDENTITY, IDENTITY_LIMIT)?;
        let machine = engine.existing(&of.machine)?;
        if let Some(node) = machine.node(of.snapshot.as_str()).filter(|_| fork.is_resumed) {
            count_restore(&machine.directory, node, |restores| restores.identities += 1);
        }
    }
    Ok(session)
}

/// Returns how much memory a fork adds to the memory in use, in bytes, if it can be measured.
pub fn own_memory(engine: &Engine, fork: &Builder) -> Result<Option<u64>> {
    engine.hypervisor.own_memory(fork.domain())
}

/// Adds a fork's present state to the tree as a branch of the snapshot that it was made from. The fork keeps
/// running.
pub fn keep_fork(
    engine: &Engine,
    fork: &Builder,
    parent: &NodeId,
    wanted: &BranchSpec,
    journal: Journal,
) -> Result<NodeId> {
    let name = &wanted.name;
    engine.claim(&parent.machine)?;
    let machine = engine.existing_now(&parent.machine)?;
    let document = machine.existing(&parent.name)?.snapshot.document.clone();
    if machine.node(name.as_str()).is_some() {
        return Err(Error::failed(format!("there is a snapshot `{name}` in `{}` already", machine.name))
            .hint("delete it first, or choose another name"));
    }
    fork.guest().settle(&Stop::after(SYNC_LIMIT, &engine.interrupt))?;
    let running = fork.running();
    let targets: Vec<String> = running.disks().iter().flat_map(|disks| disks.overlays.keys().cloned()).collect();
    let next = targets.into_iter().map(|target| Ok((target, new_file(engine, &machine, name, "qcow2")?)));
    let next: BTreeMap<String, PathBuf> = next.collect::<Result<_>>()?;
    let (layers, ram) = match running.keeps {
        RamPolicy::Whole => {
            let whole = new_file(engine, &machine, name, "ram")?;
            let mut next = Some(next);
            let mut layers = Vec::new();
            let frozen = engine.hypervisor.freeze_running(&running.domain, &whole, &mut || {
                layers = disk_files(running.switch(name.as_str(), next.take().unwrap_or_default(), None)?);
                Ok(())
            });
            let resumed = engine.hypervisor.resume(&running.domain);
            frozen.and(resumed)?;
            running.forget_switch(name.as_str())?;
            let memory = map_again(engine, &machine, &document, &layers, name, &whole);
            let _ = std::fs::remove_file(&whole);
            (layers, KeptRam { memory: Memory::Mapped(memory?), fits: running.fits.clone() })
        }
        RamPolicy::Disks | RamPolicy::Mapped(_) | RamPolicy::Saved => running.leave_behind(name.as_str(), next)?,
    };
    let checkpoints = running.checkpoints();
    let own = layers.iter().map(|layer| layer.file.clone()).chain(ram.files());
    let files: Vec<PathBuf> = own.chain(files(&checkpoints)).collect();
    let remains = BuildOutput { layers, ram, is_whole: true, checkpoints };
    let node = graft_as(engine, parent, wanted, journal, remains)?;
    running.give_away(&files);
    running.disks().iter_mut().for_each(|disks| disks.checkpoints.clear());
    Ok(node)
}

fn new_file(engine: &Engine, machine: &Machine, name: &SnapshotName, ending: &str) -> Result<PathBuf> {
    engine.store.new_file(&machine.directory, &name.slug(), ending)
}

/// Resumes a guest whose whole state is in one file, with its RAM in a file, and freezes it there at once.
fn map_again(
    engine: &Engine,
    machine: &Machine,
    document: &Document,
    layers: &[DiskFile],
    name: &SnapshotName,
    whole: &Path,
) -> Result<MappedMemory> {
    let (ram, devices) = (new_file(engine, machine, name, "ram")?, new_file(engine, machine, name, "devices")?);
    let nvram = new_file(engine, machine, name, NVRAM)?;
    let domain = machine.name.of_clone(Purpose::Fork.word(), &engine.store.new_id()?);
    let mut disks = BTreeMap::new();
    for layer in layers {
        let overlay = new_file(engine, machine, name, "qcow2")?;
        engine.hypervisor.create_overlay(&overlay, &layer.image())?;
        disks.insert(layer.target.clone(), overlay);
    }
    let overlays: Vec<PathBuf> = disks.values().cloned().collect();
    let frozen = engine
        .hypervisor
        .start_clone(&CloneSpec {
            name: domain.clone(),
            uuid: uuid::Uuid::new_v4().to_string(),
            document: document.clone(),
            disks,
            nvram: nvram.clone(),
            ram: Ram::Shared(ram.clone()),
            from: Some(Frozen::Whole(whole.to_path_buf())),
            paused: true,
            metadata: Metadata::default(),
        })
        .and_then(|()| engine.hypervisor.freeze(&domain, &Frozen::Devices(devices.clone())));
    let ended = engine.hypervisor.destroy(&domain);
    overlays.into_iter().chain(CloneSpec::own_files(&nvram)).for_each(|file| drop(std::fs::remove_file(file)));
    frozen.and(ended)?;
    [&ram, &devices].into_iter().try_for_each(|file| seal(file))?;
    Ok(MappedMemory { ram, devices })
}
