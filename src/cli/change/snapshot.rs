//! `snaptree snapshot`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::change::spec::{DiskSpec, MemorySpec};
use crate::cli::common::session::Session;
use crate::error::{Because, Error, Result};
use crate::hypervisor::{SnapshotFlags, SnapshotKind};
use crate::name::{MachineName, SnapshotName};
use crate::tree;
use crate::tree::{DiskChoice, NewSnapshot};
use crate::ui::Ui;

/// Take a snapshot of a machine
///
/// It is external unless you pass --internal, and contains the RAM of a running guest unless you pass --disk-only.
#[derive(Args)]
#[group(skip)]
pub struct Snapshot {
    /// A comment about it
    #[arg(
        long,
        visible_alias = "description",
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    comment: String,
    #[command(flatten)]
    content: Content,
    #[command(flatten)]
    flags: Flags,
    #[command(flatten)]
    document: Document,
    /// The machine
    machine: MachineName,
    /// The snapshot's name, which must be new in its machine
    #[arg(required_unless_present = "xml", value_parser = |name: &str| SnapshotName::new(name))]
    name: Option<SnapshotName>,
}

/// Its contents, and where they are put.
#[derive(Args)]
#[group(skip)]
struct Content {
    /// Keep the state in separate files; the guest continues in overlays
    #[arg(long, conflicts_with = "internal")]
    external: bool,
    /// Keep the state inside the disks' qcow2 files
    #[arg(long)]
    internal: bool,
    /// Require the RAM of the guest, which must be running
    #[arg(long)]
    memory: bool,
    /// Omit the RAM
    #[arg(long)]
    no_memory: bool,
    /// Put the RAM into this file: `[file=]PATH[,snapshot=no|internal|external]`
    #[arg(long, value_name = "SPEC")]
    memspec: Option<MemorySpec>,
    /// How a disk takes part: `TARGET[,snapshot=no|internal|external][,file=PATH]`; repeatable
    #[arg(long, value_name = "SPEC")]
    diskspec: Vec<DiskSpec>,
}

#[derive(Args)]
#[group(skip)]
struct Flags {
    /// Take only the disks, even of a running guest
    #[arg(long)]
    disk_only: bool,
    /// Take all disks or, if one fails, none
    #[arg(long)]
    atomic: bool,
    /// With --disk-only: let the guest agent freeze the guest's file systems meanwhile
    #[arg(long)]
    quiesce: bool,
    /// Stop the machine afterwards
    #[arg(long)]
    halt: bool,
    /// Keep the guest running while its RAM is saved
    #[arg(long)]
    live: bool,
    /// Use existing overlays
    #[arg(long)]
    reuse_external: bool,
}

#[derive(Args)]
#[group(skip)]
struct Document {
    /// Take the snapshot that libvirt's XML in this file describes; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "name", "comment", "external", "internal", "memory", "no_memory", "memspec", "diskspec",
    ])]
    xml: Option<PathBuf>,
    /// With --xml: add the described snapshot to the tree without taking one
    #[arg(long, requires = "xml", conflicts_with_all = [
        "disk_only", "atomic", "quiesce", "halt", "live", "reuse_external",
    ])]
    redefine: bool,
    /// With --redefine: make it the current snapshot
    #[arg(long, requires = "redefine")]
    current: bool,
}

impl Snapshot {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let (engine, machine, flags) = (&session.engine, &self.machine, self.flags.all());
        let name = match (&self.document.xml, &self.name) {
            (Some(file), _) if self.document.redefine => {
                let name = tree::redefine_snapshot(engine, machine, &read(file)?, self.document.current)?;
                ui.status(&format!("Added snapshot `{name}` to the tree of `{machine}`."));
                return Ok(0);
            }
            (Some(file), _) => tree::take_described(engine, machine, &read(file)?, flags)?,
            (None, Some(name)) => {
                tree::take_snapshot(engine, machine, name, &self.content.take(&self.comment, flags)?)?;
                name.clone()
            }
            (None, None) => return Err(Error::bug("clap let a snapshot without a name through")),
        };
        ui.status(&format!("Took snapshot `{name}` of `{machine}`."));
        Ok(0)
    }
}

fn read(file: &Path) -> Result<String> {
    let read = if file == Path::new("-") { io::read_to_string(io::stdin()) } else { std::fs::read_to_string(file) };
    read.because(|| format!("cannot read `{}`", file.display()))
}

impl Flags {
    fn all(&self) -> SnapshotFlags {
        SnapshotFlags {
            disk_only: self.disk_only,
            atomic: self.atomic,
            quiesce: self.quiesce,
            halt: self.halt,
            live: self.live,
            reuse_external: self.reuse_external,
        }
    }
}

impl Content {
    fn take(&self, comment: &str, flags: SnapshotFlags) -> Result<NewSnapshot> {
        Ok(NewSnapshot {
            comment: comment.to_string(),
            kind: self.kind()?,
            memory: self.memory(flags.disk_only)?,
            memory_file: self.memspec.as_ref().and_then(|spec| spec.file.clone()),
            disks: self.disks()?,
            flags,
        })
    }

    fn kind(&self) -> Result<Option<SnapshotKind>> {
        let asked = [
            self.external.then_some(SnapshotKind::External),
            self.internal.then_some(SnapshotKind::Internal),
            self.memspec.as_ref().and_then(|spec| spec.kind),
        ];
        let of_disks = self.diskspec.iter().map(|spec| spec.kind);
        let mut kinds = asked.into_iter().chain(of_disks).flatten();
        let first = kinds.next();
        if kinds.any(|kind| Some(kind) != first) {
            return Err(Error::usage("a snapshot is either internal or external, and these options ask for both")
                .hint("--internal puts it inside the disks' qcow2 files, --external beside them"));
        }
        Ok(first)
    }

    fn memory(&self, disk_only: bool) -> Result<Option<bool>> {
        let spec = self.memspec.as_ref().map(|spec| spec.takes_part);
        let wanted = self.memory || spec == Some(true);
        let unwanted = self.no_memory || spec == Some(false);
        if wanted && (unwanted || disk_only) {
            return Err(Error::usage("these options ask for a snapshot both with and without RAM")
                .hint("--disk-only and --no-memory leave the RAM out, --memory and --memspec take it"));
        }
        Ok((wanted || unwanted).then_some(wanted))
    }

    fn disks(&self) -> Result<BTreeMap<String, DiskChoice>> {
        let mut disks = BTreeMap::new();
        for DiskSpec { target, takes_part, file, .. } in &self.diskspec {
            let choice = if *takes_part { DiskChoice::TakePart(file.clone()) } else { DiskChoice::LeaveOut };
            if disks.insert(target.clone(), choice).is_some() {
                return Err(Error::usage(format!("--diskspec is given twice for disk `{target}`")).hint(format!(
                    "put all that you want of it into one: --diskspec {target},snapshot=external,file=PATH"
                )));
            }
        }
        Ok(disks)
    }
}
