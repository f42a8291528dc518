//! Trees and tables as text.

use crate::image::CachedImage;
use crate::tree::{SnapshotView, TreeView};

/// Draws a tree in the shape of `virsh snapshot-list --tree`, the current snapshot marked.
pub fn text(tree: &TreeView, with_name: bool) -> String {
    let mut lines = Vec::new();
    if with_name {
        lines.push(format!("{}:", tree.machine));
    }
    if tree.snapshots.is_empty() {
        lines.push("no snapshots".to_string());
    }
    for root in children(tree, None) {
        lines.push(label(root));
        below(tree, root, "", &mut lines);
        lines.push(String::new());
    }
    lines.join("\n") + if tree.snapshots.is_empty() { "\n" } else { "" }
}

fn below(tree: &TreeView, parent: &SnapshotView, indent: &str, lines: &mut Vec<String>) {
    let children = children(tree, Some(&parent.name));
    if children.is_empty() {
        return;
    }
    lines.push(format!("{indent}  |"));
    let last = children.len() - 1;
    for (n, child) in children.into_iter().enumerate() {
        lines.push(format!("{indent}  +- {}", label(child)));
        let deeper = format!("{indent}{}", if n == last { "    " } else { "  | " });
        let before = lines.len();
        below(tree, child, &deeper, lines);
        if n != last && lines.len() > before {
            lines.push(format!("{indent}  |"));
        }
    }
}

fn children<'a>(tree: &'a TreeView, parent: Option<&str>) -> Vec<&'a SnapshotView> {
    tree.snapshots.iter().filter(|snapshot| snapshot.parent.as_deref() == parent).collect()
}

fn label(snapshot: &SnapshotView) -> String {
    format!("{}{}", snapshot.name, if snapshot.current { " (current)" } else { "" })
}

/// Draws the table of cached images.
pub fn images(images: &[CachedImage]) -> String {
    if images.is_empty() {
        return "no images\n".to_string();
    }
    let mut rows = vec![["NAME", "KIND", "SIZE", "DIGEST"].map(str::to_string)];
    rows.extend(images.iter().map(|image| {
        let size = bytesize::ByteSize(image.size).display().iec().to_string();
        [image.name.clone(), image.kind.to_string(), size, image.digest.clone()]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    rows.iter()
        .map(|[name, kind, size, digest]| {
            format!("{name:<0$}  {kind:<1$}  {size:>2$}  {digest}\n", widths[0], widths[1], widths[2])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(nodes: &[(&str, Option<&str>)]) -> TreeView {
        let snapshots = nodes.iter().map(|(name, parent)| SnapshotView {
            name: name.to_string(),
            parent: parent.map(str::to_string),
            comment: String::new(),
            created: 0,
            state: "shutoff".into(),
            current: *name == "b",
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
        assert_eq!(text(&tree, false), drawn);
        assert_eq!(text(&tree, true), format!("m:\n{drawn}"));
    }

    #[test]
    fn a_machine_without_snapshots_says_so() {
        assert_eq!(text(&tree(&[]), false), "no snapshots\n");
    }
}
