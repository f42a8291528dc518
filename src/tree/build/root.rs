//! Roots that are made from an image: a machine's domain and the first snapshot of its tree.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::error::{Because, Error, Result};
use crate::hypervisor::{Boot, DiskState, DomainSpec, Image};
use crate::image::Ready;
use crate::name::{MachineName, SnapshotName};
use crate::shell;
use crate::tree::build::found::Found;
use crate::tree::build::root_node::{self, RootNode};
use crate::tree::change::present::present;
use crate::tree::change::transaction::remember;
use crate::tree::files::draft::{Draft, Note};
use crate::tree::files::store::seal;
use crate::tree::graft::prune::supersede;
use crate::tree::kept::change_name::ChangeName;
use crate::tree::kept::undo_log::{Kept, UndoEntry, Unfinished};
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::record::definition::{Definition, Described};
use crate::tree::record::key::{RootKey, SCHEMA};
use crate::tree::record::node::machine_metadata;
use crate::tree::record::node_id::NodeId;
use crate::tree::record::reason::Reason;

/// The disk of every machine that snaptree defines.
const DISK: &str = "vda";

/// The files of a root, copied from its image.
struct Copied {
    layer: PathBuf,
    /// The overlay that the machine writes to.
    disk: PathBuf,
    boot: Option<Boot>,
}

/// Looks for the root `name` of a machine with this definition.
pub fn find_root(
    engine: &Engine,
    machine: &MachineName,
    name: &SnapshotName,
    definition: &Definition,
) -> Result<Found> {
    let Some(machine) = engine.machine(machine)? else {
        return Ok(Found::Needed(Reason::Missing));
    };
    machine.own_directory()?;
    let key = RootKey { schema: SCHEMA, machine: definition }.digest();
    root_node::find(&machine, name, |node, record| {
        let difference = || node.definition().ok().and_then(|was| was.difference(definition));
        let is_other = record.key != key;
        Ok(is_other.then(|| difference().unwrap_or_else(|| "it was not a root".to_string())))
    })
}

/// Defines the machine's domain on a copy of its image, and takes its root. `expression` is what a script writes for
/// the image.
pub fn make_root(
    engine: &Engine,
    name: &MachineName,
    root: &SnapshotName,
    comment: &str,
    definition: &Definition,
    image: &Ready,
    expression: Option<&str>,
) -> Result<NodeId> {
    let started = Instant::now();
    let existing = engine.look_again(name)?;
    refuse(engine, name, existing.as_deref(), definition)?;
    let uuid = existing
        .as_ref()
        .map_or_else(|| uuid::Uuid::new_v4().to_string(), |machine| machine.details.domain.uuid.clone());
    let directory = existing.as_ref().map(|machine| machine.directory.clone());
    let directory = directory.unwrap_or_else(|| engine.store.directory_for(name, &uuid));
    engine.store.create_directory(&directory)?;
    let mut draft = Draft::new(directory.clone());
    if existing.is_none() {
        draft.sign(&engine.store, &Note::of(engine.hypervisor.uri(), name))?;
    }
    let Copied { layer, disk, boot } = copy(engine, root, definition, image, &mut draft)?;
    let key = RootKey { schema: SCHEMA, machine: definition }.digest();
    let id = root_node::identify(engine, name, root, key)?;
    let undo = existing.as_ref().map(|machine| replace(engine, machine, root)).transpose()?;
    engine.hypervisor.define(&DomainSpec {
        name: name.to_string(),
        uuid,
        description: comment.to_string(),
        memory: definition.memory,
        cpus: definition.cpus,
        cpu_model: definition.cpu_model.clone(),
        firmware: definition.firmware,
        network: definition.network.clone(),
        boot,
        disk: disk.clone(),
        extra_xml: definition.extra_xml.clone(),
        metadata: machine_metadata(&directory),
    })?;
    draft.finish();
    let Some(machine) = engine.look_again(name)? else {
        return Err(Error::bug(format!("machine `{name}` vanished after it was defined")));
    };
    let described = Described { definition: definition.clone(), image_expression: expression.map(str::to_string) };
    let payload = serde_json::to_vec(&described).map_err(|cause| Error::bug("a definition").cause(cause))?;
    let disks = vec![DiskState { target: DISK.to_string(), layer, overlay: disk }];
    let root = RootNode { id, parent: None, comment, is_current: true, disks, payload, undo };
    root_node::graft_root(engine, &machine, root, started)
}

/// Refuses a root that cannot be made, or from which nothing could be built.
fn refuse(engine: &Engine, name: &MachineName, existing: Option<&Machine>, definition: &Definition) -> Result<()> {
    if let Some(machine) = existing {
        machine.own_directory()?;
        if machine.is_active() {
            return Err(Error::failed(format!("machine `{name}` is running, and its root has to be rebuilt"))
                .hint(format!("`virsh shutdown {}`, then run this again", shell::last(name))));
        }
    }
    if let Some(obstacle) = engine.hypervisor.obstacle_in(&definition.extra_xml)? {
        return Err(Error::failed(format!("no branch of `{name}` could be built"))
            .cause(obstacle)
            .hint("only one domain can have that: take it out of `extra_xml`"));
    }
    Ok(())
}

/// Copies the image's files into the machine's directory, since the image may leave the cache.
fn copy(
    engine: &Engine,
    root: &SnapshotName,
    definition: &Definition,
    image: &Ready,
    draft: &mut Draft,
) -> Result<Copied> {
    let layer = draft.add(engine.store.new_file(&draft.directory, &root.slug(), "qcow2")?);
    let source = Image::new(&image.disk, image.format.as_str());
    engine.hypervisor.copy_image(&source, &layer, definition.disk)?;
    image.check_unchanged()?;
    seal(&layer)?;
    let boot = image.boot.as_ref().map(|boot| copy_boot(engine, boot, draft)).transpose()?;
    let disk = draft.add(engine.store.new_file(&draft.directory, "disk", "qcow2")?);
    engine.hypervisor.create_overlay(&disk, &Image::qcow2(&layer))?;
    Ok(Copied { layer, disk, boot })
}

/// Keeps what the new root replaces: the old one with its subtree, and the machine's state. Returns the entry with which
/// that can be undone.
fn replace(engine: &Engine, machine: &Machine, root: &SnapshotName) -> Result<UndoEntry> {
    // Superseded nodes are recorded before anything of them changes.
    if let Some(node) = machine.node(root.as_str()) {
        supersede(engine, machine, node)?;
    }
    let present = present(engine, machine)?;
    let what = ChangeName::new(format!("rebuild {root}"));
    remember(engine, machine, what, Kept::State(present), Unfinished::default())
}

/// Copies the files that QEMU boots.
fn copy_boot(engine: &Engine, boot: &Boot, draft: &mut Draft) -> Result<Boot> {
    let mut copy = |from: &Path, what: &str| {
        let to = draft.add(engine.store.new_file(&draft.directory, what, "boot")?);
        std::fs::copy(from, &to).because(|| format!("cannot copy `{}`", from.display()))?;
        Ok::<_, Error>(to)
    };
    Ok(Boot {
        kernel: copy(&boot.kernel, "vmlinuz")?,
        initrd: copy(&boot.initrd, "initrd")?,
        cmdline: boot.cmdline.clone(),
    })
}
