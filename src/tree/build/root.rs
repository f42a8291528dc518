//! Roots: a machine's domain and the first snapshot of its tree.

use std::path::Path;
use std::time::Instant;

use crate::error::{Because, Error, Result};
use crate::event::{Event, Subject};
use crate::hypervisor::{Boot, DiskState, DomainSpec, Image, Memory, SnapshotSpec};
use crate::image::Ready;
use crate::name::{MachineName, SnapshotName};
use crate::shell;
use crate::tree::build::found::{Found, not_from_a_script};
use crate::tree::change::present::present;
use crate::tree::change::transaction::{remember, remembered};
use crate::tree::files::draft::{Draft, Note};
use crate::tree::files::store::seal;
use crate::tree::graft::prune::{deleted_build, prune, supersede};
use crate::tree::kept::superseded::SupersededNodes;
use crate::tree::kept::undo_log::{Entry, Kept, Unfinished};
use crate::tree::machine::engine::Engine;
use crate::tree::machine::seen::Machine;
use crate::tree::record::definition::{Definition, Described};
use crate::tree::record::key::{RootKey, SCHEMA};
use crate::tree::record::node::{Node, Record, machine_metadata};
use crate::tree::record::node_id::NodeId;
use crate::tree::record::reason::Reason;

/// The disk of every machine that snaptree defines.
pub const DISK: &str = "vda";

impl Engine {
    /// Looks for the root `name` of a machine with this definition.
    pub fn find_root(&self, machine: &MachineName, name: &SnapshotName, definition: &Definition) -> Result<Found> {
        let Some(machine) = self.machine(machine)? else {
            return Ok(Found::Needed(Reason::Missing));
        };
        machine.own_directory()?;
        let Some(node) = machine.node(name.as_str()) else {
            return Ok(Found::Needed(Reason::Missing));
        };
        let Some(record) = &node.record else {
            return Err(not_from_a_script(&machine, name));
        };
        let key = RootKey { schema: SCHEMA, machine: definition }.digest();
        if let Some(incompatible) = record.incompatible() {
            return Ok(Found::Needed(incompatible));
        }
        if record.key != key {
            let was = node.definition();
            let difference = was.ok().and_then(|was| was.difference(definition));
            return Ok(Found::Needed(Reason::Changed(difference.unwrap_or_else(|| "it was not a root".to_string()))));
        }
        if let Some(missing) = node.snapshot.missing_file() {
            return Ok(Found::Needed(Reason::Changed(missing)));
        }
        let build = record.build.clone();
        Ok(Found::Cached(NodeId { machine: machine.name.clone(), name: name.clone(), key, build }))
    }

    /// Defines the machine's domain on a copy of its image, and takes its root. `expression` is what a script writes
    /// for the image.
    pub fn make_root(
        &self,
        name: &MachineName,
        root: &SnapshotName,
        comment: &str,
        definition: &Definition,
        image: &Ready,
        expression: Option<&str>,
    ) -> Result<NodeId> {
        let started = Instant::now();
        let existing = self.look_again(name)?;
        if let Some(machine) = &existing {
            machine.own_directory()?;
            if machine.is_active() {
                return Err(Error::failed(format!("machine `{name}` is running, and its root has to be rebuilt"))
                    .hint(format!("`virsh shutdown {}`, then run this again", shell::last(name))));
            }
        }
        if let Some(obstacle) = self.hypervisor.obstacle_in(&definition.extra_xml)? {
            return Err(Error::failed(format!("no branch of `{name}` could be built"))
                .cause(obstacle)
                .hint("only one domain can have that: take it out of `extra_xml`"));
        }
        let uuid = existing
            .as_ref()
            .map_or_else(|| uuid::Uuid::new_v4().to_string(), |machine| machine.details.domain.uuid.clone());
        let directory = existing.as_ref().map(|machine| machine.directory.clone());
        let directory = directory.unwrap_or_else(|| self.store.directory_for(name, &uuid));
        self.store.create_directory(&directory)?;
        let mut draft = Draft::new(directory.clone());
        if existing.is_none() {
            draft.sign(&self.store, &Note::of(self.hypervisor.uri(), name))?;
        }

        let layer = draft.add(self.store.new_file(&directory, &root.slug(), "qcow2")?);
        let source = Image::new(&image.disk, image.format.as_str());
        self.hypervisor.copy_image(&source, &layer, definition.disk)?;
        image.check_unchanged()?;
        seal(&layer)?;
        let boot = image.boot.as_ref().map(|boot| copy_boot(self, boot, &mut draft)).transpose()?;
        let disk = draft.add(self.store.new_file(&directory, "disk", "qcow2")?);
        self.hypervisor.create_overlay(&disk, &Image::qcow2(&layer))?;

        let key = RootKey { schema: SCHEMA, machine: definition }.digest();
        let node = new_root(self, name, root, key)?;
        // Superseded nodes are recorded before anything of them changes.
        if let Some((machine, node)) =
            existing.as_ref().and_then(|machine| machine.node(root.as_str()).map(|node| (machine, node)))
        {
            supersede(self, machine, node)?;
        }
        let was = existing.as_ref().map(|machine| keep_working_state(self, machine, root)).transpose()?;
        self.hypervisor.define(&DomainSpec {
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
        let Some(machine) = self.look_again(name)? else {
            return Err(Error::bug(format!("machine `{name}` vanished after it was defined")));
        };
        let described = Described { definition: definition.clone(), image_expression: expression.map(str::to_string) };
        let payload = serde_json::to_vec(&described).map_err(|cause| Error::bug("a definition").cause(cause))?;
        let record = Record::of(&node, None, directory, true);
        self.hypervisor.redefine_snapshot(
            name.as_str(),
            &SnapshotSpec {
                name: root.to_string(),
                parent: None,
                comment: comment.to_string(),
                created: crate::clock::now(),
                current: true,
                document: machine.details.document.clone(),
                disks: vec![DiskState { target: DISK.to_string(), layer, overlay: disk }],
                memory: Memory::No,
                metadata: record.write(Vec::new(), payload),
            },
        )?;
        prune(self, name)?;
        if let Some(entry) = was {
            remembered(self, &machine, entry)?;
        }
        let subject = Subject::node(name, root);
        self.events.emit(Event::NodeBuilt { subject, took: started.elapsed() });
        Ok(node)
    }
}

/// Identifies a root that is about to be made.
pub fn new_root(engine: &Engine, machine: &MachineName, name: &SnapshotName, key: String) -> Result<NodeId> {
    let before = engine.machine(machine)?.and_then(|machine| earlier_build(&machine, name, &key));
    let build = before.map_or_else(|| engine.store.new_id(), Ok)?;
    Ok(NodeId { machine: machine.clone(), name: name.clone(), key, build })
}

/// Keeps the state of a machine that is about to get a new root.
fn keep_working_state(engine: &Engine, machine: &Machine, root: &SnapshotName) -> Result<Entry> {
    let present = present(engine, machine)?;
    remember(engine, machine, format!("rebuild {root}"), Kept::State(present), Unfinished::default())
}

/// Copies the files that QEMU boots into the machine's directory, since the image may leave the cache.
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

/// Returns the build of a root that was deleted, or superseded by one of another key. A root is a copy of what its key
/// names, so nodes built on the old one are valid on the new one too.
fn earlier_build(machine: &Machine, name: &SnapshotName, key: &str) -> Option<String> {
    let has_key = |node: &Node| node.record.as_ref().is_some_and(|record| record.key == key);
    if machine.node(name.as_str()).is_some_and(has_key) {
        return None;
    }
    let superseded = || SupersededNodes::of(&machine.directory).named(name.as_str()).into_iter();
    let is_whole = |node: &Node| has_key(node) && node.snapshot.missing_file().is_none();
    deleted_build(machine, name, key).or_else(|| superseded().find(is_whole).map(|node| node.build()))
}
