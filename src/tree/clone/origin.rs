//! The origin of a clone.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::hypervisor::{DiskFile, Document, Snapshot, SnapshotKind};
use crate::name::{SnapshotName, SnapshotPath};
use crate::shell;
use crate::tree::files::store::seal;
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::record::digest::digest;
use crate::tree::record::key::SCHEMA;
use crate::tree::record::node::Node;
use crate::tree::record::node_id::NodeId;
use crate::tree::record::ram::KeptRam;

/// The origin of a clone: the domain, its disks, and the RAM of its guest if there is any.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Its name in messages and file names.
    pub name: SnapshotName,
    pub document: Document,
    pub layers: Vec<DiskFile>,
    pub ram: KeptRam,
}

/// The identity of a snapshot that no script made.
#[derive(Serialize)]
struct FoundKey<'a> {
    schema: u32,
    domain: &'a str,
    name: &'a str,
    created: u64,
    layers: Vec<DiskFile>,
}

/// Identifies any snapshot by its place and its content, whether or not snaptree made it.
pub fn node_id(engine: &Engine, path: &SnapshotPath) -> Result<NodeId> {
    let machine = engine.existing(&path.machine)?;
    let node = machine.existing(&path.snapshot)?;
    let (key, build) = (key_of(&machine, node), node.build());
    Ok(NodeId { machine: path.machine.clone(), name: path.snapshot.clone(), key, build })
}

/// Returns the origin of a snapshot's clones.
pub fn origin(engine: &Engine, machine: &Machine, node: &Node) -> Result<Origin> {
    let (name, document) = (SnapshotName::existing(node.name())?, node.snapshot.document.clone());
    Ok(Origin { name, document, layers: base(engine, machine, node)?, ram: node.ram() })
}

/// Lists the backing layers for a clone of a snapshot. Those of an internal one are copied out of its file.
fn base(engine: &Engine, machine: &Machine, node: &Node) -> Result<Vec<DiskFile>> {
    let snapshot = &node.snapshot;
    let cannot = || Error::failed(format!("`{}/{}` cannot be cloned", machine.name, node.name()));
    if let Some(disk) = snapshot.left_out().next() {
        return Err(cannot()
            .cause(format!("it left out disk `{}`, so its content is unknown", disk.target))
            .hint("take a snapshot with every disk, and clone that"));
    }
    if let Some(disk) = snapshot.members().find(|disk| disk.file.is_none()) {
        return Err(cannot()
            .cause(format!("disk `{}` was not a file", disk.target))
            .hint("a clone needs disks that are files"));
    }
    if let Some(missing) = snapshot.missing_file() {
        return Err(cannot().cause(missing).hint("put the file back, or clone another snapshot"));
    }
    refuse_clone(engine, machine, cannot, &snapshot.document, true)?;
    match snapshot.kind() {
        SnapshotKind::External => Ok(snapshot.layers()),
        SnapshotKind::Internal => copied_out(engine, machine, snapshot, &key_of(machine, node)),
    }
}

/// Refuses a domain with something that only one domain can have.
pub fn refuse_clone(
    engine: &Engine,
    machine: &Machine,
    cannot: impl Fn() -> Error,
    document: &Document,
    is_snapshot: bool,
) -> Result<()> {
    let Some(obstacle) = engine.hypervisor.obstacle_to_clone(document)? else { return Ok(()) };
    let name = &machine.name;
    let hint = if machine.is_ours {
        "take it out of the machine's `extra_xml`".to_string()
    } else {
        let then = if is_snapshot { ", then take another snapshot" } else { "" };
        format!("only one domain can have that: take it out with `virsh edit {}`{then}", shell::last(name))
    };
    Err(cannot().cause(obstacle).hint(hint))
}

fn copied_out(engine: &Engine, machine: &Machine, snapshot: &Snapshot, key: &str) -> Result<Vec<DiskFile>> {
    let short = key.get(..16).unwrap_or(key);
    engine.store.create_directory(&machine.directory)?;
    let copy = |layer: DiskFile| {
        let what = format!("copy-{short}-{}", layer.target);
        if let Some(file) = engine.store.sealed(&machine.directory, &what) {
            return Ok(DiskFile { file, format: "qcow2".to_string(), ..layer });
        }
        let file = engine.store.new_file(&machine.directory, &what, "qcow2")?;
        engine.hypervisor.copy_internal(&layer.file, &snapshot.name, &file)?;
        seal(&file)?;
        Ok(DiskFile { file, format: "qcow2".to_string(), ..layer })
    };
    snapshot.layers().into_iter().map(copy).collect()
}

fn key_of(machine: &Machine, node: &Node) -> String {
    match &node.record {
        Some(record) => record.key.clone(),
        None => digest(&FoundKey {
            schema: SCHEMA,
            domain: &machine.details.domain.uuid,
            name: node.name(),
            created: node.snapshot.created,
            layers: node.snapshot.layers(),
        }),
    }
}
