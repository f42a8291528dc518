//! A domain as it was when it was last looked at, with its tree.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::hypervisor::{Disk, DiskFile, DomainDetails, Snapshot, SnapshotDisk, SnapshotKind};
use crate::name::{MachineName, SnapshotName};
use crate::nearest::no_such;
use crate::tree::files::file_id::{FileSet, is_same_file};
use crate::tree::files::made::{Known, Made};
use crate::tree::kept::files::kept_files;
use crate::tree::kept::undo_log::UndoLog;
use crate::tree::record::node::Node;

/// A domain as it was when it was last looked at, with its tree.
#[derive(Debug)]
pub struct Machine {
    pub name: MachineName,
    pub details: DomainDetails,
    /// Whether snaptree made the domain, so that it may delete it.
    pub is_ours: bool,
    /// Where snaptree puts its files for this machine; it need not exist for a domain that snaptree did not create.
    pub directory: PathBuf,
    pub nodes: Vec<Node>,
    /// Made on first use.
    pub(in crate::tree) index: OnceLock<Index>,
}

/// The index of each node in a machine's list, and its children.
#[derive(Debug, Default)]
pub struct Index {
    by_name: HashMap<String, usize>,
    children: HashMap<String, Vec<usize>>,
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

    /// Finds every file that the domain, its snapshots, superseded and failed nodes or the undo history refer to.
    pub fn referred(&self) -> FileSet {
        let of_snapshots = self.nodes.iter().flat_map(|node| node.snapshot.files());
        let of_domain = self.details.disks.iter().filter_map(Disk::file);
        of_snapshots.chain(of_domain).map(Path::to_path_buf).chain(kept_files(&self.directory)).collect()
    }

    /// Lists the disks that a guest writes to and that are files.
    pub fn written_disks(&self) -> Vec<DiskFile> {
        self.details.disks.iter().filter(|disk| disk.is_written()).filter_map(Disk::with_file).collect()
    }

    /// Lists the disks that the machine has only while it runs.
    pub fn running_only(&self) -> impl Iterator<Item = &Disk> {
        let has = |target: &str| self.details.next_disks.iter().any(|next| next.target == target);
        self.details.disks.iter().filter(move |disk| !has(&disk.target))
    }

    /// Lists the disks that it will have only from its next start on.
    pub fn next_only(&self) -> impl Iterator<Item = &Disk> {
        let has = |target: &str| self.details.disks.iter().any(|disk| disk.target == target);
        self.details.next_disks.iter().filter(move |disk| !has(&disk.target))
    }

    /// Returns the snapshot of that name or, if it was deleted, its nearest ancestor that still exists.
    pub fn nearest_to(&self, name: &str) -> Option<&Node> {
        let deleted = UndoLog::of(&self.directory).deleted();
        let mut name = Some(name);
        // Names can be reused, so the parents of deleted snapshots might form a cycle.
        for _ in 0..=deleted.len() {
            if let Some(node) = self.node(name?) {
                return Some(node);
            }
            name = deleted.iter().rev().find(|snapshot| Some(snapshot.name.as_str()) == name)?.parent.as_deref();
        }
        None
    }

    /// Returns why the RAM of the running guest cannot be written to a file.
    pub fn why_no_memory(&self) -> Option<String> {
        match self.details.filesystems.first() {
            Some(driver) => Some(format!("the guest mounts a host directory ({driver})")),
            None if self.details.has_host_devices => Some("the guest has a host device".to_string()),
            None => None,
        }
    }

    /// Returns the snapshot whose state is inside a file that a guest may be writing to.
    pub fn holder_of(&self, file: &Path) -> Option<&str> {
        let holds = |disk: &SnapshotDisk| {
            disk.kind == Some(SnapshotKind::Internal)
                && disk.file.as_deref().is_some_and(|holder| is_same_file(holder, file))
        };
        self.nodes.iter().find(|node| node.snapshot.disks.iter().any(holds)).map(|node| node.name())
    }

    /// Returns whether the machine's disks are the very files that hold a snapshot.
    pub fn has_disks_of(&self, snapshot: &Snapshot) -> bool {
        let present = self.written_disks();
        snapshot.layers().iter().all(|layer| present.iter().any(|disk| is_same_file(&disk.file, &layer.file)))
    }

    /// Returns the directory for a new file of a disk: that of a machine of ours, otherwise the one of the disk's file.
    pub fn directory_for(&self, file: &Path) -> PathBuf {
        match file.parent() {
            Some(beside) if !self.is_ours => beside.to_path_buf(),
            _ => self.directory.clone(),
        }
    }

    /// Returns the directory of a machine of ours; refuses a domain that snaptree did not create.
    pub fn own_directory(&self) -> Result<&Path> {
        if self.is_ours {
            return Ok(&self.directory);
        }
        Err(Error::failed(format!("a domain `{}` exists already, and snaptree did not make it", self.name))
            .hint("give the machine another name"))
    }

    /// Reads which files snaptree made for this machine.
    pub fn made(&self) -> Known {
        let mut known = Made::of(&self.directory).read_in(&self.directory);
        // Older versions recorded nothing, and put the overlays of a domain that they did not create beside its disks.
        let disks = self.details.disks.iter().filter_map(Disk::file).filter_map(Path::parent);
        known.also_in(disks.filter(|_| !self.is_ours));
        known
    }
}
