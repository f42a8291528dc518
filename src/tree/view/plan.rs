//! What a run would build: plain data for text and JSON.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use crate::tree::machine::filter::order;
use crate::tree::record::reason::Reason;
use crate::tree::view::drawing::{Drawn, draw};

/// What a run of a script would do. This is the schema of `snaptree plan --json`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Plan {
    /// Whether anything would be built.
    pub builds: bool,
    /// In the order in which the script reaches them.
    pub machines: Vec<MachinePlan>,
    /// Immediate actions of the script, in its order, which a plan leaves out.
    pub not_planned: Vec<NotPlanned>,
}

#[derive(Clone, Debug, Serialize)]
pub struct MachinePlan {
    pub machine: String,
    /// The connection's URI.
    pub connection: String,
    /// Each parent before its children, siblings by name.
    pub nodes: Vec<PlannedNode>,
    #[serde(skip)]
    known: HashMap<String, usize>,
}

#[derive(Clone, Debug, Serialize)]
pub struct PlannedNode {
    pub name: String,
    /// The parent that the script gives it.
    pub parent: Option<String>,
    pub status: Status,
    /// Whether it is cached outside of the tree, because another node superseded it.
    pub kept_aside: bool,
    /// Why it is stale.
    pub because: Option<String>,
    #[serde(skip)]
    standing: NodeStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A run would use it as it is.
    Cached,
    /// It exists, and a run would rebuild it.
    Stale,
    /// It does not exist.
    Missing,
}

/// What a plan found out about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeStatus {
    Cached,
    KeptAside,
    Needed(Reason),
    /// It exists, but its parent is only a placeholder: the parent's name, and the kind.
    Below(String, Placeholder),
}

/// Why a snapshot that a script holds need not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// A plan would build it, because this is its status.
    Planned(Status),
    /// `--only` skips it.
    LeftAlone,
    /// A plan does not act.
    NotPlanned,
}

/// An action such as starting a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotPlanned {
    pub act: String,
    pub of: String,
}

impl NodeStatus {
    pub fn status(&self) -> Status {
        match self {
            Self::Cached | Self::KeptAside => Status::Cached,
            Self::Needed(Reason::Missing) => Status::Missing,
            Self::Needed(_) | Self::Below(..) => Status::Stale,
        }
    }

    fn because(&self) -> Option<String> {
        match self {
            Self::Cached | Self::KeptAside | Self::Needed(Reason::Missing) => None,
            Self::Needed(reason) => Some(reason.to_string()),
            Self::Below(parent, is) => Some(format!("parent {parent} is {is}")),
        }
    }
}

impl Status {
    pub fn word(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Stale => "stale",
            Self::Missing => "missing",
        }
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Planned(status) => status.word(),
            Self::LeftAlone => "left alone",
            Self::NotPlanned => "not planned",
        })
    }
}

impl fmt::Display for NodeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.status().word())?;
        match (self, self.because()) {
            (Self::KeptAside, _) => f.write_str(" (kept aside)"),
            (Self::Needed(_), Some(because)) => write!(f, " (because: {because})"),
            (_, Some(because)) => write!(f, " ({because})"),
            (_, None) => Ok(()),
        }
    }
}

impl Plan {
    /// Adds a node that the script reaches; if it was added before, it keeps its status.
    pub fn add(&mut self, connection: &str, machine: &str, name: &str, parent: Option<&str>, standing: NodeStatus) {
        let is_it = |it: &MachinePlan| it.machine == machine && it.connection == connection;
        // It is nearly always the last one.
        let place = self.machines.iter().rposition(is_it).unwrap_or_else(|| {
            self.machines.push(MachinePlan {
                machine: machine.to_string(),
                connection: connection.to_string(),
                nodes: Vec::new(),
                known: HashMap::new(),
            });
            self.machines.len() - 1
        });
        let MachinePlan { nodes, known, .. } = &mut self.machines[place];
        if known.contains_key(name) {
            return;
        }
        self.builds |= standing.status() != Status::Cached;
        known.insert(name.to_string(), nodes.len());
        nodes.push(PlannedNode {
            name: name.to_string(),
            parent: parent.map(str::to_string),
            status: standing.status(),
            kept_aside: standing == NodeStatus::KeptAside,
            because: standing.because(),
            standing,
        });
    }

    /// Adds an action that is left out.
    pub fn leave_out(&mut self, act: &str, of: impl fmt::Display) {
        self.not_planned.push(NotPlanned { act: act.to_string(), of: of.to_string() });
    }

    /// Lists all nodes, each with its machine.
    pub fn nodes(&self) -> impl Iterator<Item = (&MachinePlan, &PlannedNode)> {
        self.machines.iter().flat_map(|machine| machine.nodes.iter().map(move |node| (machine, node)))
    }

    /// Leaves only nodes for which `is_wanted`.
    pub fn retain(&mut self, is_wanted: impl Fn(&MachinePlan, &PlannedNode) -> bool) {
        for machine in &mut self.machines {
            let nodes = std::mem::take(&mut machine.nodes);
            let kept: Vec<PlannedNode> = nodes.into_iter().filter(|node| is_wanted(machine, node)).collect();
            machine.nodes = kept;
            machine.make_known();
        }
        self.machines.retain(|machine| !machine.nodes.is_empty());
        let builds = self.nodes().any(|(_, node)| node.status != Status::Cached);
        self.builds = builds;
    }

    /// Puts the nodes into the order in which they are drawn.
    pub fn put_in_order(&mut self) {
        self.machines.iter_mut().for_each(MachinePlan::put_in_order);
    }
}

impl MachinePlan {
    /// Finds a node of the machine's.
    pub fn node(&self, name: &str) -> Option<&PlannedNode> {
        self.nodes.get(*self.known.get(name)?)
    }

    fn put_in_order(&mut self) {
        let mut below: HashMap<Option<String>, Vec<PlannedNode>> = HashMap::new();
        for node in std::mem::take(&mut self.nodes) {
            let parent = node.parent.clone().filter(|parent| self.known.contains_key(parent));
            below.entry(parent).or_default().push(node);
        }
        for siblings in below.values_mut() {
            siblings.sort_by_cached_key(|node| Reverse(order(&node.name)));
        }
        let mut waiting = below.remove(&None).unwrap_or_default();
        while let Some(node) = waiting.pop() {
            waiting.extend(below.remove(&Some(node.name.clone())).unwrap_or_default());
            self.nodes.push(node);
        }
        self.make_known();
    }

    fn make_known(&mut self) {
        self.known = self.nodes.iter().enumerate().map(|(n, node)| (node.name.clone(), n)).collect();
    }
}

/// Draws the trees in the shape of `snaptree tree`, with the status of each node, and lists the actions not planned.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, machine) in self.machines.iter().enumerate() {
            if self.machines.len() > 1 {
                writeln!(f, "{}{}:", if n == 0 { "" } else { "\n" }, machine.machine)?;
            }
            let nodes = machine.nodes.iter().map(|node| Drawn {
                name: &node.name,
                parent: node.parent.as_deref(),
                label: format!("{}: {}", node.name, node.standing),
            });
            f.write_str(&draw(&nodes.collect::<Vec<_>>()))?;
        }
        self.not_planned.iter().try_for_each(|NotPlanned { act, of }| writeln!(f, "not planned ({act} of {of})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_drawn_like_its_tree() {
        let mut plan = Plan::default();
        let mut add = |name: &str, parent, standing| plan.add("fake:", "lab", name, parent, standing);
        add("root", None, NodeStatus::Cached);
        add("z", Some("root"), NodeStatus::Needed(Reason::Changed("x".into())));
        add("below", Some("z"), NodeStatus::Below("z".into(), Placeholder::Planned(Status::Stale)));
        add("a", Some("root"), NodeStatus::KeptAside);
        add("new", Some("a"), NodeStatus::Needed(Reason::Missing));
        add("new", Some("a"), NodeStatus::Cached);
        plan.leave_out("start", "lab");
        plan.put_in_order();
        assert!(plan.builds);
        assert_eq!(plan.machines[0].node("below").unwrap().parent.as_deref(), Some("z"));
        let drawn = "\
root: cached
  |
  +- a: cached (kept aside)
  |   |
  |   +- new: missing
  |
  +- z: stale (because: x)
      |
      +- below: stale (parent z is stale)
not planned (start of lab)
";
        assert_eq!(plan.to_string(), drawn);
        plan.add("fake:", "web", "top", Some("another's"), NodeStatus::Cached);
        assert!(plan.to_string().ends_with("\n\nweb:\ntop: cached\nnot planned (start of lab)\n"), "{plan}");
        plan.retain(|_, node| node.status == Status::Cached);
        assert!(!plan.builds);
    }
}
