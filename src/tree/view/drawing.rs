//! Trees as text.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::name::on_one_line;
use crate::tree::view::tree::{SnapshotView, TreeView};

/// A node to draw: its name, its parent's name, and its label.
pub struct Drawn<'a> {
    pub name: &'a str,
    pub parent: Option<&'a str>,
    pub label: String,
}

/// Draws the tree in the shape of `virsh snapshot-list --tree`, the current snapshot marked.
impl TreeView {
    /// Draws several trees in a row, each below its machine's name if requested.
    pub fn draw_all(trees: &[Self], with_names: bool) -> String {
        let name = |tree: &Self| if with_names { format!("{}:\n", tree.machine) } else { String::new() };
        let drawn: Vec<String> = trees.iter().map(|tree| format!("{}{tree}", name(tree))).collect();
        drawn.join("\n")
    }
}

impl fmt::Display for TreeView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = self.snapshots.iter().map(|node| Drawn {
            name: &node.name,
            parent: node.parent.as_deref(),
            label: node.label(),
        });
        f.write_str(&draw(&nodes.collect::<Vec<_>>()))
    }
}

/// Draws nodes that come in the order of the drawing: each parent before its children.
pub fn draw(nodes: &[Drawn]) -> String {
    if nodes.is_empty() {
        return "no snapshots\n".to_string();
    }
    let names: HashSet<&str> = nodes.iter().map(|node| node.name).collect();
    let mut below: HashMap<Option<&str>, Vec<&Drawn>> = HashMap::new();
    for node in nodes {
        // A node whose parent is not drawn is at the top: a root, or the start of a partial tree.
        below.entry(node.parent.filter(|parent| names.contains(parent))).or_default().push(node);
    }
    let mut lines = Vec::new();
    for top in below.get(&None).into_iter().flatten() {
        lines.push(top.label.clone());
        branches(&below, top, "", &mut lines);
        lines.push(String::new());
    }
    lines.join("\n")
}

fn branches(below: &HashMap<Option<&str>, Vec<&Drawn>>, parent: &Drawn, indent: &str, lines: &mut Vec<String>) {
    let Some(children) = below.get(&Some(parent.name)) else { return };
    lines.push(format!("{indent}  |"));
    let last = children.len() - 1;
    for (n, child) in children.iter().enumerate() {
        lines.push(format!("{indent}  +- {}", child.label));
        let deeper = format!("{indent}{}", if n == last { "    " } else { "  | " });
        let before = lines.len();
        branches(below, child, &deeper, lines);
        if n != last && lines.len() > before {
            lines.push(format!("{indent}  |"));
        }
    }
}

impl SnapshotView {
    /// Returns the name as it is drawn, with the current snapshot marked.
    pub fn label(&self) -> String {
        format!("{}{}", on_one_line(&self.name), if self.current { " (current)" } else { "" })
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
    fn a_name_of_several_lines_takes_one() {
        assert_eq!(tree(&[("a\r\nb\u{9b}\\n", None)]).to_string(), "a\\r\\nb\\u{9b}\\n\n");
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
        assert_eq!(part.to_string(), "d\n  |\n  +- e\n");
        assert_eq!(tree(&[("e", Some("d"))]).to_string(), "e\n");
    }

    #[test]
    fn a_machine_without_snapshots_says_so() {
        assert_eq!(tree(&[]).to_string(), "no snapshots\n");
    }
}
