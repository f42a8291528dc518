//! Trees as text.

use std::collections::HashSet;
use std::fmt;

use super::view::{SnapshotView, TreeView};

/// Draws the tree in the shape of `virsh snapshot-list --tree`, the current snapshot marked.
impl fmt::Display for TreeView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text(self))
    }
}

fn text(tree: &TreeView) -> String {
    let mut lines = Vec::new();
    if tree.snapshots.is_empty() {
        lines.push("no snapshots".to_string());
    }
    for root in tops(tree) {
        lines.push(root.label());
        below(tree, root, "", &mut lines);
        lines.push(String::new());
    }
    lines.join("\n") + if tree.snapshots.is_empty() { "\n" } else { "" }
}

fn below(tree: &TreeView, parent: &SnapshotView, indent: &str, lines: &mut Vec<String>) {
    let children = children(tree, &parent.name);
    if children.is_empty() {
        return;
    }
    lines.push(format!("{indent}  |"));
    let last = children.len() - 1;
    for (n, child) in children.into_iter().enumerate() {
        lines.push(format!("{indent}  +- {}", child.label()));
        let deeper = format!("{indent}{}", if n == last { "    " } else { "  | " });
        let before = lines.len();
        below(tree, child, &deeper, lines);
        if n != last && lines.len() > before {
            lines.push(format!("{indent}  |"));
        }
    }
}

/// Lists the snapshots that hang below nothing: the roots, or the top of a part of a tree.
fn tops(tree: &TreeView) -> Vec<&SnapshotView> {
    let names: HashSet<&str> = tree.snapshots.iter().map(|snapshot| snapshot.name.as_str()).collect();
    let is_top = |parent: Option<&str>| parent.is_none_or(|parent| !names.contains(parent));
    tree.snapshots.iter().filter(|snapshot| is_top(snapshot.parent.as_deref())).collect()
}

fn children<'a>(tree: &'a TreeView, parent: &str) -> Vec<&'a SnapshotView> {
    tree.snapshots.iter().filter(|snapshot| snapshot.parent.as_deref() == Some(parent)).collect()
}

impl SnapshotView {
    /// Returns the name as it is drawn, with the current snapshot marked.
    pub fn label(&self) -> String {
        format!("{}{}", self.name, if self.current { " (current)" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::SnapshotKind;

    fn tree(nodes: &[(&str, Option<&str>)]) -> TreeView {
        let snapshots = nodes.iter().map(|(name, parent)| SnapshotView {
            name: name.to_string(),
            parent: parent.map(str::to_string),
            comment: String::new(),
            created: 0,
            state: "shutoff".into(),
            current: *name == "b",
            kind: SnapshotKind::External,
            live: false,
            key: None,
            operations: Vec::new(),
        });
        TreeView { machine: "m".into(), current: Some("b".into()), snapshots: snapshots.collect() }
    }

    #[test]
    fn a_tree_has_virshs_shape() {
        let tree = tree(&[
            ("a", None),
            ("b", Some("a")),
            ("c", Some("b")),
            ("d", Some("b")),
            ("e", Some("a")),
            ("f", Some("e")),
        ]);
        let drawn = "\
a
  |
  +- b (current)
  |   |
  |   +- c
  |   +- d
  |
  +- e
      |
      +- f
";
        assert_eq!(tree.to_string(), drawn);
    }

    #[test]
    fn a_part_of_a_tree_begins_at_its_top() {
        let part = tree(&[("d", Some("b")), ("e", Some("d"))]);
        assert_eq!(text(&part), "d\n  |\n  +- e\n");
        assert_eq!(text(&tree(&[("e", Some("d"))])), "e\n");
    }

    #[test]
    fn a_machine_without_snapshots_says_so() {
        assert_eq!(text(&tree(&[])), "no snapshots\n");
    }
}
