//! `snaptree list`.

use clap::Args;

use crate::cli::common::session::Session;
use crate::cli::common::which;
use crate::error::Result;
use crate::hypervisor::SnapshotKind;
use crate::name::{MachineName, SnapshotName};
use crate::tree;
use crate::tree::{Filter, Machine, TreeView};
use crate::ui::Ui;

/// List the machines, or the snapshots of one
///
/// The options for snapshots are those of `virsh snapshot-list`. Each narrows the list, but --internal and --external
/// combine with OR, and so do --active, --inactive and --disk-only.
#[derive(Args)]
#[group(skip)]
pub struct List {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Print only the names, one per line
    #[arg(long, conflicts_with = "json")]
    name: bool,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    shape: Shape,
    /// List the snapshots of this machine
    machine: Option<MachineName>,
}

#[derive(Args)]
#[group(skip)]
struct Selection {
    /// Only snapshots without a parent
    #[arg(long, requires = "machine", conflicts_with = "start")]
    roots: bool,
    /// Only snapshots without children
    #[arg(long, requires = "machine", conflicts_with = "no_leaves")]
    leaves: bool,
    /// Only snapshots with children
    #[arg(long, requires = "machine")]
    no_leaves: bool,
    /// Only internal snapshots
    #[arg(long, requires = "machine")]
    internal: bool,
    /// Only external snapshots
    #[arg(long, requires = "machine")]
    external: bool,
    /// Only snapshots of disks without RAM, taken while the guest ran
    #[arg(long, requires = "machine")]
    disk_only: bool,
    /// Only snapshots with the RAM of a running or paused guest
    #[arg(long, requires = "machine")]
    active: bool,
    /// Only snapshots taken while the guest was off
    #[arg(long, requires = "machine")]
    inactive: bool,
    /// Only the children of this snapshot
    #[arg(long, value_name = "SNAPSHOT", requires = "machine", group = "start", allow_hyphen_values = true)]
    from: Option<SnapshotName>,
    /// Only the children of the current snapshot
    #[arg(long, requires = "machine", group = "start")]
    current: bool,
    /// With --from or --current: all below it, not only its children
    #[arg(long, requires = "start")]
    descendants: bool,
}

#[derive(Args)]
#[group(skip)]
struct Shape {
    /// Add a column with the parent
    #[arg(long, requires = "machine", conflicts_with_all = ["json", "name"])]
    parent: bool,
    /// Draw the tree, or the part below --from or --current
    #[arg(long, requires = "machine", conflicts_with_all = [
        "json", "name", "parent", "roots", "leaves", "no_leaves", "internal", "external", "disk_only", "active",
        "inactive",
    ])]
    tree: bool,
    /// Accepted for virsh compatibility; the order is always topological
    #[arg(long, requires = "machine")]
    topological: bool,
}

impl List {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        match &self.machine {
            None => self.machines(&session, ui)?,
            Some(machine) => self.snapshots(machine, &session, ui)?,
        }
        Ok(0)
    }

    fn machines(&self, session: &Session, ui: &Ui) -> Result<()> {
        let machines = tree::machines(&session.engine)?;
        if self.json {
            ui.json(&machines)
        } else if self.name {
            ui.names(machines.iter().map(|machine| machine.name.as_str()))
        } else {
            ui.machines(&machines)
        }
    }

    fn snapshots(&self, machine: &MachineName, session: &Session, ui: &Ui) -> Result<()> {
        let filter = self.selection.filter(machine, session)?;
        let machine = session.engine.existing_now(machine)?;
        if self.shape.tree {
            return ui.trees(&[part(&machine, filter)?], false);
        }
        let selected = TreeView::selected(&machine, &filter)?.snapshots;
        if self.json {
            ui.json(&selected)
        } else if self.name {
            ui.names(selected.iter().map(|snapshot| snapshot.name.as_str()))
        } else {
            ui.snapshots(&selected, self.shape.parent)
        }
    }
}

impl Selection {
    fn filter(&self, machine: &MachineName, session: &Session) -> Result<Filter> {
        let from = match (&self.from, self.current) {
            (None, true) => Some(which::current(&session.engine, machine)?.snapshot),
            (from, _) => from.clone(),
        };
        Ok(Filter {
            roots: self.roots,
            leaves: self.leaves,
            no_leaves: self.no_leaves,
            kind: self.kind(),
            states: self.states().into_iter().map(str::to_string).collect(),
            from,
            descendants: self.descendants,
        })
    }

    fn kind(&self) -> Option<SnapshotKind> {
        match (self.internal, self.external) {
            (true, false) => Some(SnapshotKind::Internal),
            (false, true) => Some(SnapshotKind::External),
            _ => None,
        }
    }

    /// Lists the states that are asked for; empty means any.
    fn states(&self) -> Vec<&'static str> {
        const ACTIVE: &[&str] = &["running", "blocked", "paused", "shutdown", "crashed", "pmsuspended"];
        let chosen = [
            (self.active, ACTIVE),
            (self.inactive, ["shutoff"].as_slice()),
            (self.disk_only, ["disk-snapshot"].as_slice()),
        ];
        chosen.into_iter().filter(|(is_chosen, _)| *is_chosen).flat_map(|(_, states)| states).copied().collect()
    }
}

/// Returns a machine's tree, or the part of it that begins at `filter.from`.
fn part(machine: &Machine, filter: Filter) -> Result<TreeView> {
    let mut tree = TreeView::selected(machine, &Filter::default())?;
    if let Some(top) = filter.from.clone() {
        let below = TreeView::selected(machine, &Filter { descendants: true, ..filter })?.snapshots;
        let belongs = |name: &str| name == top.as_str() || below.iter().any(|snapshot| snapshot.name == name);
        tree.snapshots.retain(|snapshot| belongs(&snapshot.name));
    }
    Ok(tree)
}
