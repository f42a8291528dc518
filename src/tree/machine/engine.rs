//! The engine: what every command and every script works through.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::error::Result;
use crate::event::{Event, Events, Subject};
use crate::hypervisor::{Domain, Hypervisor};
use crate::name::{MachineName, SnapshotName};
use crate::nearest::no_such;
use crate::stop::Interrupt;
use crate::tree::files::store::{Store, is_directory_of, maker};
use crate::tree::machine::seen::Machine;
use crate::tree::machine::select::order;
use crate::tree::machine::settings::{CHECKPOINT_AFTER, Forced};
use crate::tree::record::host_files::Inputs;
use crate::tree::record::node::{Node, machine_directory};
use crate::tree::record::node_id::NodeId;
use crate::tree::record::replay::Replay;

/// A machine and the name of a snapshot that is there or may come.
type Branch = (MachineName, String);

pub struct Engine {
    pub hypervisor: Arc<dyn Hypervisor>,
    pub store: Store,
    pub events: Events,
    pub interrupt: Interrupt,
    /// What the script has read of the host.
    pub inputs: Arc<Inputs>,
    /// Whether it looks and changes nothing.
    pub(in crate::tree) is_planning: bool,
    /// Nodes that left a tree since what they stood on was built anew.
    gone: Mutex<HashSet<Branch>>,
    machines: Mutex<HashMap<MachineName, Arc<Machine>>>,
    /// Held while somebody looks, so that what was seen first never replaces what was seen later.
    looking: Mutex<()>,
    noted: Mutex<BTreeSet<String>>,
    /// How RAM is to be kept, whatever the host can do.
    pub forced_live: Option<Forced>,
    /// How long after the start of a step its first check-point is taken.
    pub checkpoint_after: Duration,
    /// The replays of each branch that is being looked for.
    replays: Mutex<HashMap<Branch, Vec<Arc<Replay>>>>,
    /// Held while files that nothing needs are looked for and removed.
    collecting: Mutex<()>,
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
        }
    }

    /// Returns an engine on the same hypervisor that looks and changes nothing: it sweeps nothing away, claims no
    /// machine and puts nothing back.
    pub fn planning(&self, events: Events) -> Self {
        let mut engine = Self::new(Arc::clone(&self.hypervisor), self.store.beside(), events, self.interrupt.clone());
        engine.is_planning = true;
        engine
    }

    fn gone(&self) -> MutexGuard<'_, HashSet<Branch>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::tree) fn are_gone(&self, machine: &MachineName, nodes: &[&Node]) {
        self.gone().extend(nodes.iter().map(|node| (machine.clone(), node.name().to_string())));
    }

    /// Says whether this run took a node out of the tree since what it stood on was built anew.
    pub(in crate::tree) fn is_gone(&self, machine: &MachineName, name: &SnapshotName) -> bool {
        self.gone().contains(&(machine.clone(), name.to_string()))
    }

    /// Keeps a replay of a branch, which tells how far other journals would have answered its step.
    pub(in crate::tree) fn remember_replay(&self, parent: &NodeId, name: &str, replay: Arc<Replay>) {
        let mut replays = self.replays.lock().unwrap_or_else(PoisonError::into_inner);
        let branch = (parent.machine.clone(), name.to_string());
        replays.entry(branch).or_default().push(replay);
    }

    /// Returns the replays of a branch since it was looked for, and forgets them.
    pub(in crate::tree) fn replays_of(&self, parent: &NodeId, name: &SnapshotName) -> Vec<Arc<Replay>> {
        let mut replays = self.replays.lock().unwrap_or_else(PoisonError::into_inner);
        replays.remove(&(parent.machine.clone(), name.to_string())).unwrap_or_default()
    }

    /// Lets one branch after the other remove what it no longer needs.
    pub(in crate::tree) fn one_collection(&self) -> MutexGuard<'_, ()> {
        self.collecting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<MachineName, Arc<Machine>>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn looking(&self) -> MutexGuard<'_, ()> {
        self.looking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something once, however often it is found out.
    pub fn note_once(&self, note: String) {
        if self.noted.lock().unwrap_or_else(PoisonError::into_inner).insert(note.clone()) {
            self.events.emit(Event::Note(note));
        }
    }

    /// Warns once of an operation that would be another one in every run.
    pub fn warn_of_chance(&self, subject: Subject, number: usize, operation: &str) {
        let operation = operation.to_string();
        if self.noted.lock().unwrap_or_else(PoisonError::into_inner).insert(format!("{number} of {subject}")) {
            self.events.emit(Event::ByChance { subject, number, operation });
        }
    }

    /// Returns a machine as it was last seen, looking once.
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
        // A copy of a machine by another tool has its metadata and another uuid: the directory is not the copy's.
        let ours = machine_directory(details.metadata.as_ref());
        let ours = ours.filter(|directory| is_directory_of(directory, &details.domain.uuid));
        let is_ours = ours.is_some();
        let directory = ours.unwrap_or_else(|| self.store.directory_for(name, &details.domain.uuid));
        let machine =
            Arc::new(Machine { name: name.clone(), details, is_ours, directory, nodes, index: OnceLock::new() });
        self.seen().insert(name.clone(), Arc::clone(&machine));
        Ok(Some(machine))
    }

    /// Notes that a machine changed, so that it is looked at again when somebody asks for it.
    pub fn changed(&self, name: &MachineName) {
        let _looking = self.looking();
        self.seen().remove(name);
    }

    /// Forgets what was seen and gives up what was claimed, since others can have their turn until somebody asks again.
    pub fn pause(&self) {
        let _looking = self.looking();
        self.seen().clear();
        self.gone().clear();
        self.replays.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.store.release_all();
    }

    /// Takes the right to change a machine's tree; says whether another process had it meanwhile, so that what is to
    /// be built has to be looked for again.
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

    /// Says that no guest ever boots here, so images need not exist.
    pub fn is_simulated(&self) -> bool {
        self.hypervisor.is_simulated()
    }

    /// Opens the connection anew where it was lost.
    pub fn revive(&self) -> Result<()> {
        self.hypervisor.revive()
    }

    /// Lists the names of a machine's snapshots without a look at them.
    pub fn snapshot_names(&self, machine: &str) -> Result<Vec<String>> {
        self.hypervisor.snapshot_names(machine)
    }

    /// Lists the names of all domains, in order.
    pub fn names(&self) -> Result<Vec<MachineName>> {
        self.names_of(|_| true)
    }

    /// Lists the names of all domains that are nobody's clones, in order.
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
