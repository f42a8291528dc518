//! A snapshot of any machine as a script holds it, whether the script built it or found it.

use std::fmt;
use std::sync::Arc;

use mlua::Value;

use crate::error::Result;
use crate::lua::handle::domain::Domain;
use crate::lua::runtime::snapshot_origin::SnapshotOrigin;
use crate::name::{SnapshotName, SnapshotPath};
use crate::tree;
use crate::tree::{Engine, Machine as Seen, Node, NodeId, Placeholder};

#[derive(Clone)]
pub struct Snapshot {
    pub domain: Domain,
    pub name: SnapshotName,
    origin: SnapshotOrigin,
}

impl Snapshot {
    pub fn grown(domain: &Domain, node: NodeId) -> Self {
        Self { domain: domain.clone(), name: node.name.clone(), origin: SnapshotOrigin::Grown(node) }
    }

    pub fn found(domain: &Domain, name: SnapshotName) -> Self {
        Self { domain: domain.clone(), name, origin: SnapshotOrigin::Found }
    }

    /// A placeholder for a node that `--only` skips.
    pub fn left_alone(domain: &Domain, name: SnapshotName) -> Self {
        Self::remembered(domain, name, SnapshotOrigin::Hollow(Placeholder::LeftAlone))
    }

    /// A placeholder for a node that a plan does not build.
    pub fn not_planned(domain: &Domain, name: SnapshotName) -> Self {
        Self::remembered(domain, name, SnapshotOrigin::Hollow(Placeholder::NotPlanned))
    }

    /// Makes a snapshot that the script can find again even if it does not exist.
    pub fn remembered(domain: &Domain, name: SnapshotName, origin: SnapshotOrigin) -> Self {
        let context = &domain.context;
        context.control.remember(context.place(&domain.name, &name), origin.clone());
        Self { domain: domain.clone(), name, origin }
    }

    /// Finds a snapshot that the script got earlier, even if it need not exist.
    pub fn recalled(domain: &Domain, name: &str) -> Option<Self> {
        let name = SnapshotName::existing(name).ok()?;
        let origin = domain.context.control.remembered(&domain.context.place(&domain.name, &name))?;
        Some(Self { domain: domain.clone(), name, origin })
    }

    /// Says what kind of placeholder it is, if it is one.
    pub fn hollow(&self) -> Option<Placeholder> {
        match self.origin {
            SnapshotOrigin::Hollow(is) => Some(is),
            SnapshotOrigin::Grown(_) | SnapshotOrigin::Found => None,
        }
    }

    /// Says whether an act on it is skipped, and reports that: `revert`, `delete`, and all else that acts at once.
    pub fn leaves_out(&self, act: &str) -> bool {
        let context = &self.domain.context;
        if let Some(mut plan) = context.control.plan() {
            plan.leave_out(act, self);
            return true;
        }
        if self.hollow().is_some() {
            context.engine.events.note(format!("no {act} of {self}, which --only leaves alone"));
        }
        self.hollow().is_some()
    }

    /// Takes the snapshot out of a Lua value.
    pub fn of(value: &Value) -> Option<Self> {
        value.as_userdata()?.borrow::<Self>().ok().map(|snapshot| snapshot.clone())
    }

    pub fn path(&self) -> SnapshotPath {
        SnapshotPath { machine: self.domain.name.clone(), snapshot: self.name.clone() }
    }

    /// Names the node from which branches grow.
    pub async fn node(&self) -> Result<NodeId> {
        if let SnapshotOrigin::Grown(node) = &self.origin {
            return Ok(node.clone());
        }
        self.blocking(|engine, path| {
            tree::sweep(engine, &path.machine)?;
            tree::node_id(engine, path)
        })
        .await
    }

    /// Says whether it is absent and may be.
    pub fn is_absent(&self) -> Result<bool> {
        let context = &self.domain.context;
        let may_be = match self.origin {
            SnapshotOrigin::Hollow(_) => true,
            // A plan does not restore a superseded node.
            SnapshotOrigin::Grown(_) => context.control.is_plan(),
            SnapshotOrigin::Found => false,
        };
        let is_there = |machine: Arc<Seen>| machine.node(self.name.as_str()).is_some();
        Ok(may_be && !context.engine.look_again(&self.domain.name)?.is_some_and(is_there))
    }

    /// Looks at the snapshot as it is now; returns `nothing` if it is absent and may be.
    pub fn look<T>(&self, nothing: T, look: impl FnOnce(&Seen, &Node) -> mlua::Result<T>) -> mlua::Result<T> {
        if self.is_absent()? {
            return Ok(nothing);
        }
        let machine = self.domain.look()?;
        let node = machine.existing(&self.name)?;
        look(&machine, node)
    }

    /// Runs a blocking call on another thread.
    pub async fn blocking<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Engine, &SnapshotPath) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let path = self.path();
        self.domain.blocking(move |engine, _| call(engine, &path)).await
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path())
    }
}

/// Makes snapshots from names. Names that snaptree refuses are skipped; other tools may use them.
pub fn found(domain: &Domain, names: Vec<String>) -> Vec<Snapshot> {
    let names = names.into_iter().filter_map(|name| SnapshotName::existing(name).ok());
    names.map(|name| Snapshot::found(domain, name)).collect()
}
