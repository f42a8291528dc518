//! Selects snapshots of a tree: the filters of `virDomainListAllSnapshots`.

use std::cmp::Reverse;
use std::collections::HashSet;

use crate::error::Result;
use crate::hypervisor::SnapshotKind;
use crate::name::SnapshotName;
use crate::tree::machine::machine::Machine;
use crate::tree::record::node::Node;

/// The filters; each that is set narrows the selection.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Without a parent.
    pub roots: bool,
    /// Without children.
    pub leaves: bool,
    /// With children.
    pub no_leaves: bool,
    pub kind: Option<SnapshotKind>,
    /// In one of these states, in libvirt's words; any state when it is empty.
    pub states: Vec<String>,
    /// Below this one.
    pub from: Option<SnapshotName>,
    /// With `from`: all below it, not only its children.
    pub descendants: bool,
}

impl Machine {
    /// Lists the selected nodes, each parent before its children, siblings by name.
    pub fn select(&self, filter: &Filter) -> Result<Vec<&Node>> {
        let below = match &filter.from {
            None => None,
            Some(from) => {
                let from = self.existing(from)?.name();
                let below = if filter.descendants { self.descendants(from) } else { self.children(from).collect() };
                Some(below.into_iter().map(Node::name).collect::<HashSet<&str>>())
            }
        };
        let is_selected = |node: &&Node| {
            let has_children = self.children(node.name()).next().is_some();
            (!filter.roots || self.parent(node).is_none())
                && (!filter.leaves || !has_children)
                && (!filter.no_leaves || has_children)
                && filter.kind.is_none_or(|kind| kind == node.snapshot.kind())
                && (filter.states.is_empty() || filter.states.contains(&node.snapshot.state))
                && below.as_ref().is_none_or(|below| below.contains(node.name()))
        };
        Ok(self.in_order().into_iter().filter(is_selected).collect())
    }

    /// Returns the name of a node's parent. One whose parent is gone is a root, as it is for libvirt.
    fn parent<'a>(&self, node: &'a Node) -> Option<&'a str> {
        node.snapshot.parent.as_deref().filter(|parent| self.node(parent).is_some())
    }

    /// Lists all nodes, each parent before its children, siblings by name.
    fn in_order(&self) -> Vec<&Node> {
        let mut waiting = by_name(self.nodes.iter().filter(|node| self.parent(node).is_none()));
        let mut ordered = Vec::with_capacity(self.nodes.len());
        while let Some(node) = waiting.pop() {
            ordered.push(node);
            waiting.extend(by_name(self.children(node.name())));
        }
        ordered
    }
}

/// Siblings are ordered as virsh orders them.
pub fn order(name: &str) -> (String, String) {
    (name.to_ascii_lowercase(), name.to_string())
}

/// Sorts siblings so that the first one is taken from the end.
fn by_name<'a>(nodes: impl Iterator<Item = &'a Node>) -> Vec<&'a Node> {
    let mut nodes: Vec<&Node> = nodes.collect();
    nodes.sort_by_cached_key(|node| Reverse(order(node.name())));
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::machine::example::machine;

    /// `a` with `B` and `c` below it, `d` below `c`, and a second root `e`; `c` has RAM inside its disk.
    fn tree() -> Machine {
        let mut machine = machine(&[("d", Some("c")), ("e", None), ("c", Some("a")), ("B", Some("a")), ("a", None)]);
        let c = &mut machine.nodes[2].snapshot;
        c.state = "running".into();
        c.memory = crate::hypervisor::Memory::Internal;
        machine
    }

    #[track_caller]
    fn selects(filter: Filter, expected: &str) {
        let tree = tree();
        let names: Vec<&str> = tree.select(&filter).unwrap().into_iter().map(Node::name).collect();
        assert_eq!(names.join(" "), expected, "{filter:?}");
    }

    fn below(name: &str, descendants: bool) -> Filter {
        Filter { from: Some(SnapshotName::new(name).unwrap()), descendants, ..Filter::default() }
    }

    #[test]
    fn parents_come_before_children_and_siblings_by_name() {
        selects(Filter::default(), "a B c d e");
    }

    #[test]
    fn every_filter_narrows_the_selection() {
        selects(Filter { roots: true, ..Filter::default() }, "a e");
        selects(Filter { leaves: true, ..Filter::default() }, "B d e");
        selects(Filter { no_leaves: true, ..Filter::default() }, "a c");
        selects(Filter { kind: Some(SnapshotKind::Internal), ..Filter::default() }, "c");
        selects(Filter { kind: Some(SnapshotKind::External), ..Filter::default() }, "a B d e");
        selects(Filter { states: vec!["running".into(), "paused".into()], ..Filter::default() }, "c");
        selects(Filter { roots: true, leaves: true, ..Filter::default() }, "e");
        selects(Filter { leaves: true, no_leaves: true, ..Filter::default() }, "");
    }

    #[test]
    fn what_is_below_a_snapshot_is_its_children_or_all_of_them() {
        selects(below("a", false), "B c");
        selects(below("a", true), "B c d");
        selects(below("d", true), "");
        selects(Filter { leaves: true, ..below("a", true) }, "B d");
        let unknown = tree().select(&below("x", false)).unwrap_err();
        assert_eq!(unknown.message, "there is no snapshot `x` in `web`");
    }

    #[test]
    fn a_snapshot_whose_parent_is_gone_is_a_root() {
        let lost = machine(&[("a", None), ("b", Some("gone")), ("c", Some("b"))]);
        let names = |filter| lost.select(&filter).unwrap().into_iter().map(Node::name).collect::<Vec<_>>();
        assert_eq!(names(Filter::default()), ["a", "b", "c"]);
        assert_eq!(names(Filter { roots: true, ..Filter::default() }), ["a", "b"]);
    }
}
