//! The engine: what every command and every script works through.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::aside::Aside;
use super::event::{Event, Events};
use super::node::{Node, machine_directory};
use super::store::Store;
use crate::error::{Error, Result};
use crate::hypervisor::{DomainDocument, Hypervisor};
use crate::name::{MachineName, SnapshotName};
use crate::stop::Interrupt;

pub struct Engine {
    pub hypervisor: Arc<dyn Hypervisor>,
    pub store: Store,
    pub events: Events,
    pub interrupt: Interrupt,
    machines: Mutex<HashMap<MachineName, Arc<Machine>>>,
    noted: Mutex<BTreeSet<String>>,
}

/// A domain as it was when it was last looked at, with its tree.
#[derive(Debug)]
pub struct Machine {
    pub name: MachineName,
    pub uuid: String,
    pub is_active: bool,
    /// Where the files of a machine of ours are; nothing for somebody else's domain.
    pub directory: Option<PathBuf>,
    pub document: DomainDocument,
    pub disks: Vec<PathBuf>,
    pub nodes: Vec<Node>,
}

/// A node that this run has found or made, named by its place and its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeId {
    pub machine: MachineName,
    pub name: SnapshotName,
    pub key: String,
}

impl Engine {
    pub fn new(hypervisor: Arc<dyn Hypervisor>, store: Store, events: Events, interrupt: Interrupt) -> Self {
        Self { hypervisor, store, events, interrupt, machines: Mutex::default(), noted: Mutex::default() }
    }

    fn machines(&self) -> MutexGuard<'_, HashMap<MachineName, Arc<Machine>>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something once, however often it is found out.
    pub fn note_once(&self, note: String) {
        if self.noted.lock().unwrap_or_else(PoisonError::into_inner).insert(note.clone()) {
            self.events.emit(Event::Note(note));
        }
    }

    /// Returns a machine as it was last seen, looking once.
    pub fn machine(&self, name: &MachineName) -> Result<Option<Arc<Machine>>> {
        let seen = self.machines().get(name).map(Arc::clone);
        if seen.is_some() { Ok(seen) } else { self.look_again(name) }
    }

    /// Looks at a machine again, after it changed.
    pub fn look_again(&self, name: &MachineName) -> Result<Option<Arc<Machine>>> {
        let Some(domain) = self.hypervisor.domain(name.as_str())? else {
            self.machines().remove(name);
            return Ok(None);
        };
        let nodes = self.hypervisor.snapshots(name.as_str())?.into_iter().map(Node::new).collect();
        let Some(document) = domain.document else {
            return Err(Error::bug(format!("domain `{name}` has no description")));
        };
        let machine = Arc::new(Machine {
            name: name.clone(),
            uuid: domain.uuid,
            is_active: domain.is_active,
            directory: machine_directory(domain.metadata.as_ref()),
            document,
            disks: domain.disks,
            nodes,
        });
        self.machines().insert(name.clone(), Arc::clone(&machine));
        Ok(Some(machine))
    }

    /// Takes the right to change a machine's tree; says whether another process had it meanwhile, so that what is to
    /// be built has to be looked for again.
    pub fn claim(&self, machine: &MachineName) -> Result<bool> {
        let waiting = || self.note_once(format!("waiting for another snaptree that is building `{machine}`"));
        let changed = self.store.claim(machine, &self.interrupt, waiting)?;
        if changed {
            self.look_again(machine)?;
        }
        Ok(changed)
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
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name() == name)
    }

    /// Returns a node that has to exist.
    pub fn existing(&self, name: &SnapshotName) -> Result<&Node> {
        self.node(name.as_str()).ok_or_else(|| {
            let names = self.nodes.iter().map(Node::name);
            no_such(&format!("snapshot `{name}`"), &format!("in `{}`", self.name), name.as_str(), names)
        })
    }

    pub fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Node> {
        self.nodes.iter().filter(move |node| node.snapshot.parent.as_deref() == Some(name))
    }

    /// Lists the nodes below `name`, parents first.
    pub fn descendants<'a>(&'a self, name: &'a str) -> Vec<&'a Node> {
        let mut found: Vec<&Node> = self.children(name).collect();
        let mut next = 0;
        while let Some(node) = found.get(next).copied() {
            found.extend(self.children(node.name()));
            next += 1;
        }
        found
    }

    /// Lists every file that the domain, its snapshots or the superseded nodes refer to.
    pub fn referred(&self) -> BTreeSet<PathBuf> {
        let aside = self.directory.as_deref().map(|directory| Aside::of(directory).nodes()).unwrap_or_default();
        let snapshots = self.nodes.iter().chain(&aside).map(|node| &node.snapshot);
        let of_snapshots = snapshots.flat_map(|snapshot| {
            snapshot.layers.iter().map(|(_, layer)| layer.clone()).chain(snapshot.overlays.iter().cloned())
        });
        of_snapshots.chain(self.disks.iter().cloned()).collect()
    }
}

fn no_such<'a>(what: &str, place: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let error = Error::failed(format!("there is no {what} {place}"));
    match nearest(name, known) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint("`snaptree tree` lists what there is"),
    }
}

/// Finds the word that was probably meant.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const ENOUGH: f64 = 0.75;
    known
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_and_a_far_one_is_not() {
        let known = ["memory", "cpus", "image"];
        assert_eq!(nearest("memroy", known.into_iter()), Some("memory"));
        assert_eq!(nearest("zzz", known.into_iter()), None);
    }
}
