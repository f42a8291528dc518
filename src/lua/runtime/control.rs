//! The command line's orders for a run: which nodes, which parameters, and whether anything may be built.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashMap, HashSet};

use crate::error::{Error, Result};
use crate::lua::runtime::params::Params;
use crate::lua::runtime::snapshot_origin::SnapshotOrigin;
use crate::name::{MachineName, SnapshotName};
use crate::tree::{Plan, Reason, did_you_mean};

/// The orders of the command line.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    /// The wanted nodes, as `NAME` or `MACHINE/NAME`; empty means all.
    pub only: Vec<String>,
    /// The nodes to build even if nothing changed.
    pub rebuild: Vec<String>,
    /// Whether the run fails if anything would be built.
    pub frozen: bool,
    pub set: BTreeMap<String, String>,
}

impl Orders {
    /// Says whether they name things that only the script knows, or forbid builds.
    pub fn need_a_plan(&self) -> bool {
        self.frozen || !(self.only.is_empty() && self.rebuild.is_empty() && self.set.is_empty())
    }
}

/// A node by its connection, its machine and its name.
pub type Place = (String, MachineName, SnapshotName);

/// How one script is run, and what the run has learned so far; all of its connections share it.
pub struct Control {
    orders: Orders,
    /// The nodes that `--only` names, and those that they need.
    needed: Option<HashSet<Place>>,
    plan: Option<Mutex<Plan>>,
    pub params: Params,
    /// Placeholders that the script holds for nodes that need not exist.
    hollow: Mutex<HashMap<Place, SnapshotOrigin>>,
    /// The states that machines would be in.
    states: Mutex<HashMap<(String, MachineName), &'static str>>,
    /// The Lua code that was loaded.
    sources: Mutex<Vec<Vec<u8>>>,
}

/// What a plan has found out about a script.
pub struct Planned {
    pub plan: Plan,
    /// Why the script did not reach its end, if it did not.
    pub failure: Option<Error>,
    asked: Vec<String>,
    sources: Vec<Vec<u8>>,
}

/// Says whether the command line means this node by `wanted`.
fn means(wanted: &str, machine: &str, name: &str) -> bool {
    match wanted.split_once('/') {
        Some((of, wanted)) => of == machine && wanted == name,
        None => wanted == name,
    }
}

impl Control {
    pub fn planning(orders: &Orders) -> Self {
        Self { plan: Some(Mutex::default()), ..Self::running(orders, None) }
    }

    pub fn running(orders: &Orders, planned: Option<&Planned>) -> Self {
        let needed = planned.filter(|_| !orders.only.is_empty()).map(|planned| planned.needed(&orders.only));
        Self {
            orders: orders.clone(),
            needed,
            plan: None,
            params: Params::new(orders.set.clone()),
            hollow: Mutex::default(),
            states: Mutex::default(),
            sources: Mutex::default(),
        }
    }

    /// Returns the plan that is being made, if any.
    pub fn plan(&self) -> Option<MutexGuard<'_, Plan>> {
        self.plan.as_ref().map(Mutex::lock)
    }

    pub fn is_plan(&self) -> bool {
        self.plan.is_some()
    }

    /// Says whether nodes and machines of the script need not exist.
    pub fn is_partial(&self) -> bool {
        self.is_plan() || self.needed.is_some()
    }

    pub fn needs(&self, place: &Place) -> bool {
        self.needed.as_ref().is_none_or(|needed| needed.contains(place))
    }

    pub fn rebuilds(&self, machine: &MachineName, name: &SnapshotName) -> bool {
        self.orders.rebuild.iter().any(|wanted| means(wanted, machine.as_str(), name.as_str()))
    }

    /// Fails if nothing may be built.
    pub fn may_build(&self, name: &SnapshotName, reason: &Reason) -> Result<()> {
        if !self.orders.frozen || self.is_plan() {
            return Ok(());
        }
        Err(Error::failed(format!("`{name}` would be built, because {reason}")).hint("--frozen allows no build"))
    }

    pub fn remember(&self, place: Place, origin: SnapshotOrigin) {
        self.hollow.lock().insert(place, origin);
    }

    pub fn remembered(&self, place: &Place) -> Option<SnapshotOrigin> {
        self.hollow.lock().get(place).cloned()
    }

    /// Records the state that a machine would be in.
    pub fn would_be(&self, connection: String, machine: &MachineName, state: &'static str) {
        self.states.lock().insert((connection, machine.clone()), state);
    }

    pub fn state(&self, connection: String, machine: &MachineName) -> Option<&'static str> {
        self.states.lock().get(&(connection, machine.clone())).copied()
    }

    pub fn loaded(&self, source: &[u8]) {
        if self.is_plan() && !self.orders.set.is_empty() {
            self.sources.lock().push(source.to_vec());
        }
    }

    /// Returns what a plan has found out.
    pub fn planned(&self, failure: Option<Error>) -> Planned {
        let mut plan = self.plan().map(|plan| plan.clone()).unwrap_or_default();
        plan.put_in_order();
        let failure = failure.map(|error| match (&error.hint, plan.not_planned.is_empty()) {
            (None, false) => error.hint("a plan runs nothing: the results of its guests are empty"),
            _ => error,
        });
        let sources = std::mem::take(&mut *self.sources.lock());
        Planned { plan, failure, asked: self.params.asked(), sources }
    }
}

impl Planned {
    /// Fails if an order of the command line matches nothing in the script.
    pub fn check(&self, orders: &Orders) -> Result<()> {
        for (option, wanted) in
            orders.only.iter().map(|name| ("--only", name)).chain(orders.rebuild.iter().map(|name| ("--rebuild", name)))
        {
            if !self.plan.nodes().any(|(machine, node)| means(wanted, &machine.machine, &node.name)) {
                return Err(self.unless_failed(self.no_such_node(option, wanted)));
            }
        }
        match orders.set.keys().find(|key| !self.asked.contains(key) && !self.may_be_asked(key)) {
            Some(key) => Err(self.unless_failed(no_such_param(key, &self.asked))),
            None => Ok(()),
        }
    }

    /// Returns the script's own failure instead, if there is one: a script that stopped early might have asked later.
    fn unless_failed(&self, error: Error) -> Error {
        self.failure.clone().unwrap_or(error)
    }

    fn no_such_node(&self, option: &str, wanted: &str) -> Error {
        let error = Error::usage(format!("{option} {wanted}: the script makes no such node"));
        let path = |(machine, node): (_, &crate::tree::PlannedNode)| match wanted.contains('/') {
            true => format!("{}/{}", (machine as &crate::tree::MachinePlan).machine, node.name),
            false => node.name.clone(),
        };
        let names: Vec<String> = self.plan.nodes().map(path).collect();
        let others = || "`snaptree plan SCRIPT` lists the nodes".to_string();
        error.hint(did_you_mean(wanted, names.iter().map(String::as_str), others))
    }

    /// A step that was not run may ask for a parameter, but only if the loaded code contains its name.
    fn may_be_asked(&self, key: &str) -> bool {
        let quoted = [format!("\"{key}\""), format!("'{key}'")];
        let names = |source: &Vec<u8>| {
            let text = String::from_utf8_lossy(source);
            quoted.iter().any(|quoted| text.contains(quoted))
        };
        self.plan.builds && self.sources.iter().any(names)
    }

    /// Reduces the plan to what `--only` asks for and what that needs.
    pub fn narrow(&mut self, only: &[String]) {
        if only.is_empty() {
            return;
        }
        let needed = self.needed(only);
        let place = |connection: &str, machine: &str, name: &str| {
            Some((connection.to_string(), MachineName::existing(machine).ok()?, SnapshotName::existing(name).ok()?))
        };
        self.plan.retain(|machine, node| {
            place(&machine.connection, &machine.machine, &node.name).is_some_and(|place| needed.contains(&place))
        });
    }

    /// Lists the nodes that are asked for, and all their ancestors.
    fn needed(&self, only: &[String]) -> HashSet<Place> {
        let mut needed = HashSet::new();
        for machine in &self.plan.machines {
            let is_wanted = |name: &str| only.iter().any(|wanted| means(wanted, &machine.machine, name));
            for node in machine.nodes.iter().filter(|node| is_wanted(&node.name)) {
                let mut next = Some(node);
                while let Some(node) = next {
                    let names = MachineName::existing(machine.machine.as_str())
                        .and_then(|machine| Ok((machine, SnapshotName::existing(node.name.as_str())?)));
                    let Ok((of, name)) = names else { break };
                    if !needed.insert((machine.connection.clone(), of, name)) {
                        break;
                    }
                    next = node.parent.as_deref().and_then(|parent| machine.node(parent));
                }
            }
        }
        needed
    }
}

/// The error for a parameter that the script does not ask for.
pub fn no_such_param(key: &str, asked: &[String]) -> Error {
    let others = || match asked {
        [] => format!("param({key:?}, default) in the script reads it"),
        asked => format!("it has: {}", asked.join(", ")),
    };
    Error::usage(format!("--set {key}: the script has no such parameter")).hint(did_you_mean(
        key,
        asked.iter().map(String::as_str),
        others,
    ))
}
