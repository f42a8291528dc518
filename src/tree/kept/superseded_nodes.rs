//! Superseded nodes, kept aside: out of the tree, with their layers, until a later run matches them again.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Because, Error, Result};
use crate::hypervisor::Snapshot;
use crate::tree::record::node::Node;

/// The superseded nodes of one machine: a file for each, beside the layers.
pub struct SupersededNodes(PathBuf);

impl SupersededNodes {
    pub fn of(machine_directory: &Path) -> Self {
        Self(machine_directory.join("aside"))
    }

    fn path(&self, node: &Node) -> PathBuf {
        let key = node.record.as_ref().map_or("none", |record| record.key.as_str());
        self.0.join(format!("{}-{}.json", crate::name::slug(node.name()), key.get(..16).unwrap_or(key)))
    }

    pub fn keep(&self, node: &Node) -> Result<()> {
        let path = self.path(node);
        let cannot = || format!("cannot keep the superseded `{}`", node.name());
        let json = serde_json::to_vec(&node.snapshot).map_err(|cause| Error::bug(cannot()).cause(cause))?;
        crate::paths::write_whole(&path, &json).because(cannot)
    }

    /// Lists the kept nodes, without those that cannot be read.
    pub fn nodes(&self) -> Vec<Node> {
        self.read(|_| true)
    }

    /// Lists the kept nodes of one name, without reading the others.
    pub fn named(&self, name: &str) -> Vec<Node> {
        let beginning = format!("{}-", crate::name::slug(name));
        let mut nodes = self.read(|file| file.starts_with(&beginning));
        nodes.retain(|node| node.name() == name);
        nodes
    }

    fn read(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<Node> {
        let Ok(entries) = fs::read_dir(&self.0) else { return Vec::new() };
        let read = |path: PathBuf| serde_json::from_slice::<Snapshot>(&fs::read(path).ok()?).ok();
        entries
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(&is_wanted))
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .filter_map(read)
            .map(Node::new)
            .collect()
    }

    pub fn forget(&self, node: &Node) {
        let _ = fs::remove_file(self.path(node));
    }
}
