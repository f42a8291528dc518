//! The engine, which every command and every script uses.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::error::Result;
use crate::event::{Event, Events, Subject};
use crate::hypervisor::{Domain, Hypervisor};
use crate::name::{MachineName, SnapshotName};
use crate::nearest::no_such;
use crate::stop::Interrupt;
use crate::tree::files::store::{Store, is_directory_of, maker};
use crate::tree::machine::filter::order;
use crate::tree::machine::forced::Forced;
use crate::tree::machine::machine::Machine;
use crate::tree::machine::time_limits::CHECKPOINT_AFTER;
use crate::tree::record::host_files::HostFiles;
use crate::tree::record::node::{Node, machine_directory};
use crate::tree::record::node_id::NodeId;
use crate::tree::record::replay::Replay;
use crate::tree::serial::consoles::Consoles;
use crate::tree::serial::serial_console::SerialConsole;

/// A machine and the name of a snapshot, which need not exist yet.
type Branch = (MachineName, String);

pub struct Engine {
    pub hypervisor: Arc<dyn Hypervisor>,
    pub store: Store,
    pub events: Events,
    pub interrupt: Interrupt,
    /// The host files that the script has read.
    pub inputs: Arc<HostFiles>,
    /// Whether it is read-only.
    pub(in crate::tree) is_planning: bool,
    /// Nodes that left a tree because their parent was rebuilt.
    gone: Mutex<HashSet<Branch>>,
    machines: Mutex<HashMap<MachineName, Arc<Machine>>>,
    /// Held during a look, so that an earlier result never replaces a later one.
    looking: Mutex<()>,
    noted: Mutex<BTreeSet<String>>,
    /// How to keep RAM, whatever the host can do.
    pub forced_live: Option<Forced>,
    /// How long after the start of a step its first checkpoint is taken.
    pub checkpoint_after: Duration,
    /// The replays of each branch that is being recalled.
    replays: Mutex<HashMap<Branch, Vec<Arc<Replay>>>>,
    /// Held while finding and removing files that nothing needs.
    collecting: Mutex<()>,
    consoles: Consoles,
}

impl Engine {
    pub fn new(hypervisor: Arc<dyn Hypervisor>, store: Store, events: Events, interrupt: Interrupt) -> Self {
        Self {
            hypervisor,
            store,
            events,
            interrupt,
            inputs: Arc::default(),
            is_planning: false,
            gone: Mutex::default(),
            machines: Mutex::default(),
            looking: Mutex::default(),
            noted: Mutex::default(),
            forced_live: None,
            checkpoint_after: CHECKPOINT_AFTER,
            replays: Mutex::default(),
            collecting: Mutex::default(),
            consoles: Consoles::default(),
        }
    }

    /// Returns a read-only engine on the same hypervisor: it sweeps nothing away, claims no machine and puts nothing
    /// back.
    pub fn planning(&self, events: Events) -> Self {
        let mut engine = Self::new(Arc::clone(&self.hypervisor), self.store.beside(), events, self.interrupt.clone());
        engine.is_planning = true;
        engine
    }

    /// Returns the serial console of a domain for a script, which is opened when it is first used.
    pub(in crate::tree) fn serial(&self, domain: &str) -> Arc<SerialConsole> {
        self.consoles.of(&self.hypervisor, domain)
    }

    fn gone(&self) -> MutexGuard<'_, HashSet<Branch>> {
        self.gone.lock()
    }

    pub(in crate::tree) fn are_gone(&self, machine: &MachineName, nodes: &[&Node]) {
        self.gone().extend(nodes.iter().map(|node| (machine.clone(), node.name().to_string())));
    }

    /// Returns whether this run took a node out of the tree because its parent was rebuilt.
    pub(in crate::tree) fn is_gone(&self, machine: &MachineName, name: &SnapshotName) -> bool {
        self.gone().contains(&(machine.clone(), name.to_string()))
    }

    /// Keeps a replay of a branch, which shows how far other journals would have answered its step.
    pub(in crate::tree) fn remember_replay(&self, parent: &NodeId, name: &str, replay: Arc<Replay>) {
        let mut replays = self.replays.lock();
        let branch = (parent.machine.clone(), name.to_string());
        replays.entry(branch).or_default().push(replay);
    }

    /// Returns and forgets the replays of a branch since its recall began.
    pub(in crate::tree) fn replays_of(&self, parent: &NodeId, name: &SnapshotName) -> Vec<Arc<Replay>> {
        let mut replays = self.replays.lock();
        replays.remove(&(parent.machine.clone(), name.to_string())).unwrap_or_default()
    }

    /// Lets only one branch at a time remove files that it no longer needs.
    pub(in crate::tree) fn one_collection(&self) -> MutexGuard<'_, ()> {
        self.collecting.lock()
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<MachineName, Arc<Machine>>> {
        self.machines.lock()
    }

    fn looking(&self) -> MutexGuard<'_, ()> {
        self.looking.lock()
    }

    /// Prints a note only once, however often it applies.
    pub fn note_once(&self, note: String) {
        if self.noted.lock().insert(note.clone()) {
            self.events.emit(Event::Note(note));
        }
    }

    /// Warns once about an operation that would differ in every run.
    pub fn warn_of_chance(&self, subject: Subject, number: usize, operation: &str) {
        let operation = operation.to_string();
        if self.noted.lock().insert(format!("{number} of {subject}")) {
            self.events.emit(Event::ByChance { subject, number, operation });
        }
    }

    /// Returns a machine as it was last seen, and looks at it if it never was.
    pub fn machine(&self, name: &MachineName) -> Result<Option<Arc<Machine>>> {
        let seen = self.seen().get(name).map(Arc::clone);
        if seen.is_some() { Ok(seen) } else { self.look_again(name) }
    }

    /// Looks at a machine again, after it changed.
    pub fn look_again(&self, name: &MachineName) -> Result<Option<Arc<Machine>>> {
        let _looking = self.looking();
        let Some(details) = self.hypervisor.domain(name.as_str())? else {
            self.seen().remove(name);
            return Ok(None);
        };
        let nodes = self.hypervisor.snapshots(name.as_str())?.into_iter().map(Node::new).collect();
        // A copy that another tool made has the machine's metadata but another uuid: the directory is not the copy's.
        let ours = machine_directory(details.metadata.as_ref());
        let ours = ours.filter(|directory| is_directory_of(directory, &details.domain.uuid));
        let is_ours = ours.is_some();
        let directory = ours.unwrap_or_else(|| self.store.directory_for(name, &details.domain.uuid));
        let machine =
            Arc::new(Machine { name: name.clone(), details, is_ours, directory, nodes, index: OnceLock::new() });
        self.seen().insert(name.clone(), Arc::clone(&machine));
        Ok(Some(machine))
    }

    /// Notes that a machine changed, so that its next use looks at it again.
    pub fn changed(&self, name: &MachineName) {
        let _looking = self.looking();
        self.seen().remove(name);
    }

    /// Forgets all machines and releases all claims, so that other processes can change them until the next use.
    pub fn pause(&self) {
        let _looking = self.looking();
        self.seen().clear();
        self.gone().clear();
        self.replays.lock().clear();
        self.store.release_all();
    }

    /// Claims a machine's tree, to change it. Returns whether another process had it meanwhile; if so, the caller has
    /// to look again for what it is about to build.
    pub fn claim(&self, machine: &MachineName) -> Result<bool> {
        if self.is_planning {
            return Ok(false);
        }
        let waiting = || self.note_once(format!("waiting for another snaptree that is building `{machine}`"));
        let changed = self.store.claim(machine, &self.interrupt, waiting)?;
        if changed {
            self.look_again(machine)?;
        }
        Ok(changed)
    }

    /// Returns the URI of the connection.
    pub fn uri(&self) -> String {
        self.hypervisor.uri()
    }

    /// Returns whether no guest ever boots here, so that images need not exist.
    pub fn is_simulated(&self) -> bool {
        self.hypervisor.is_simulated()
    }

    /// Reconnects if the connection was lost.
    pub fn revive(&self) -> Result<()> {
        self.hypervisor.revive()
    }

    /// Lists the names of a machine's snapshots without reading them.
    pub fn snapshot_names(&self, machine: &str) -> Result<Vec<String>> {
        self.hypervisor.snapshot_names(machine)
    }

    /// Lists the names of all domains, in order.
    pub fn names(&self) -> Result<Vec<MachineName>> {
        self.names_of(|_| true)
    }

    /// Lists the names of all domains that are not transient clones, in order.
    pub fn names_of_machines(&self) -> Result<Vec<MachineName>> {
        self.names_of(|domain| domain.is_persistent || maker(&domain.name).is_none())
    }

    pub(in crate::tree) fn names_of(&self, is_meant: impl Fn(&Domain) -> bool) -> Result<Vec<MachineName>> {
        let domains = self.hypervisor.domains()?.into_iter().filter(is_meant);
        let mut names = domains.map(|domain| MachineName::existing(domain.name)).collect::<Result<Vec<_>>>()?;
        names.sort_by_key(|name| order(name.as_str()));
        Ok(names)
    }

    /// Returns a machine that has to exist, as it is now.
    pub fn existing_now(&self, name: &MachineName) -> Result<Arc<Machine>> {
        self.look_again(name)?;
        self.existing(name)
    }

    /// Returns a machine that has to exist.
    pub fn existing(&self, name: &MachineName) -> Result<Arc<Machine>> {
        if let Some(machine) = self.machine(name)? {
            return Ok(machine);
        }
        let domains = self.hypervisor.domains()?;
        let names = domains.iter().filter(|domain| domain.is_persistent).map(|domain| domain.name.as_str());
        Err(no_such(&format!("machine `{name}`"), &format!("on {}", self.hypervisor.uri()), name.as_str(), names))
    }
}
