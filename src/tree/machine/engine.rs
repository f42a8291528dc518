//! The engine: what every command and every script works through.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::error::Result;
use crate::event::{Event, Events, Subject};
use crate::hypervisor::{Disk, Domain, DomainDetails, Hypervisor};
use crate::name::{MachineName, SnapshotName};
use crate::nearest::no_such;
use crate::stop::Interrupt;
use crate::tree::clone::ram::Forced;
use crate::tree::files::file_id::FileSet;
use crate::tree::files::store::{Store, is_directory_of};
use crate::tree::record::host_files::Inputs;
use crate::tree::record::node::{Node, machine_directory};
use crate::tree::step::session::Session;

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
    replays: Mutex<HashMap<Branch, Vec<Arc<Session>>>>,
    /// Held while files that nothing needs are looked for and removed.
    collecting: Mutex<()>,
}

/// A domain as it was when it was last looked at, with its tree.
#[derive(Debug)]
pub struct Machine {
    pub name: MachineName,
    pub details: DomainDetails,
    /// Whether snaptree made the domain, so that it may delete it.
    pub is_ours: bool,
    /// Where snaptree puts its files for this machine; it need not exist for somebody else's domain.
    pub directory: PathBuf,
    pub nodes: Vec<Node>,
    /// Made when it is asked for.
    pub(in crate::tree) index: OnceLock<Index>,
}

/// Where in a machine's list of nodes each one is, and its children.
#[derive(Debug, Default)]
pub struct Index {
    by_name: HashMap<String, usize>,
    children: HashMap<String, Vec<usize>>,
}

/// A node that this run has found or made, named by its place, its content and its build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeId {
    pub machine: MachineName,
    pub name: SnapshotName,
    pub key: String,
    /// Empty where none was recorded.
    pub build: String,
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
            checkpoint_after: crate::tree::clone::checkpointer::AFTER,
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
    pub(in crate::tree) fn remember_replay(&self, parent: &NodeId, name: &str, session: &Arc<Session>) {
        let mut replays = self.replays.lock().unwrap_or_else(PoisonError::into_inner);
        let branch = (parent.machine.clone(), name.to_string());
        replays.entry(branch).or_default().push(Arc::clone(session));
    }

    /// Returns the replays of a branch since it was looked for, and forgets them.
    pub(in crate::tree) fn replays_of(&self, parent: &NodeId, name: &SnapshotName) -> Vec<Arc<Session>> {
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

    /// Lists the names of all domains, in order.
    pub fn names(&self) -> Result<Vec<MachineName>> {
        self.names_of(|_| true)
    }

    /// Lists the names of all domains that are nobody's clones, in order.
    pub fn names_of_machines(&self) -> Result<Vec<MachineName>> {
        self.names_of(|domain| domain.is_persistent || crate::tree::files::store::maker(&domain.name).is_none())
    }

    pub(in crate::tree) fn names_of(&self, is_meant: impl Fn(&Domain) -> bool) -> Result<Vec<MachineName>> {
        let domains = self.hypervisor.domains()?.into_iter().filter(is_meant);
        let mut names = domains.map(|domain| MachineName::existing(domain.name)).collect::<Result<Vec<_>>>()?;
        names.sort_by_key(|name| crate::tree::view::tree::order(name.as_str()));
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

impl Machine {
    fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let mut index = Index::default();
            for (n, node) in self.nodes.iter().enumerate() {
                index.by_name.insert(node.name().to_string(), n);
                if let Some(parent) = &node.snapshot.parent {
                    index.children.entry(parent.clone()).or_default().push(n);
                }
            }
            index
        })
    }

    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(*self.index().by_name.get(name)?)
    }

    /// Returns a node that has to exist.
    pub fn existing(&self, name: &SnapshotName) -> Result<&Node> {
        self.node(name.as_str()).ok_or_else(|| {
            let names = self.nodes.iter().map(Node::name);
            no_such(&format!("snapshot `{name}`"), &format!("in `{}`", self.name), name.as_str(), names)
        })
    }

    /// Returns the current snapshot.
    pub fn current(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| node.snapshot.is_current)
    }

    pub fn children(&self, name: &str) -> impl Iterator<Item = &Node> {
        let children = self.index().children.get(name).map(Vec::as_slice).unwrap_or_default();
        children.iter().filter_map(|n| self.nodes.get(*n))
    }

    /// Lists the nodes below `name`, parents first.
    pub fn descendants(&self, name: &str) -> Vec<&Node> {
        let mut found: Vec<&Node> = self.children(name).collect();
        let mut next = 0;
        while let Some(node) = found.get(next).copied() {
            found.extend(self.children(node.name()));
            next += 1;
        }
        found
    }

    pub fn is_active(&self) -> bool {
        self.details.domain.state.is_active()
    }

    /// Finds every file that the domain, its snapshots, the superseded and failed nodes or what is kept for `undo` refer
    /// to.
    pub fn referred(&self) -> FileSet {
        let of_snapshots = self.nodes.iter().flat_map(|node| node.snapshot.files());
        let of_domain = self.details.disks.iter().filter_map(Disk::file);
        of_snapshots.chain(of_domain).map(Path::to_path_buf).chain(self.kept_files()).collect()
    }
}
