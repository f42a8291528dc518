//! A snapshot of any machine as a script holds it, whether the script grew it or found it.

use std::fmt;
use std::sync::Arc;

use mlua::Value;

use crate::error::Result;
use crate::lua::handle::domain::Domain;
use crate::lua::runtime::origin::Origin;
use crate::name::{SnapshotName, SnapshotPath};
use crate::tree::{Engine, Machine as Seen, Node, NodeId};

#[derive(Clone)]
pub struct Snapshot {
    pub domain: Domain,
    pub name: SnapshotName,
    origin: Origin,
}

const LEFT_ALONE: &str = "left alone";
const NOT_PLANNED: &str = "not planned";

impl Snapshot {
    pub fn grown(domain: &Domain, node: NodeId) -> Self {
        Self { domain: domain.clone(), name: node.name.clone(), origin: Origin::Grown(node) }
    }

    pub fn found(domain: &Domain, name: SnapshotName) -> Self {
        Self { domain: domain.clone(), name, origin: Origin::Found }
    }

    /// Stands for what `--only` leaves alone.
    pub fn left_alone(domain: &Domain, name: SnapshotName) -> Self {
        Self::remembered(domain, name, Origin::Hollow(LEFT_ALONE))
    }

    /// Stands for what a plan does not make.
    pub fn not_planned(domain: &Domain, name: SnapshotName) -> Self {
        Self::remembered(domain, name, Origin::Hollow(NOT_PLANNED))
    }

    /// Makes a snapshot that a script can find again even where it is not there.
    pub fn remembered(domain: &Domain, name: SnapshotName, origin: Origin) -> Self {
        let context = &domain.context;
        context.control.remember(context.place(&domain.name, &name), origin.clone());
        Self { domain: domain.clone(), name, origin }
    }

    /// Finds what stands for a node that need not be there.
    pub fn recalled(domain: &Domain, name: &str) -> Option<Self> {
        let name = SnapshotName::existing(name).ok()?;
        let origin = domain.context.control.remembered(&domain.context.place(&domain.name, &name))?;
        Some(Self { domain: domain.clone(), name, origin })
    }

    /// Says what it is where it need not be there.
    pub fn hollow(&self) -> Option<&'static str> {
        match self.origin {
            Origin::Hollow(is) => Some(is),
            Origin::Grown(_) | Origin::Found => None,
        }
    }

    /// Says whether an act on it is left out, and notes that: `revert`, `delete`, and whatever else acts at once.
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
        if let Origin::Grown(node) = &self.origin {
            return Ok(node.clone());
        }
        self.blocking(|engine, path| {
            engine.sweep(&path.machine)?;
            engine.node_id(path)
        })
        .await
    }

    /// Says whether it is not there, and need not be.
    pub fn is_absent(&self) -> Result<bool> {
        let context = &self.domain.context;
        let may_be = match self.origin {
            Origin::Hollow(_) => true,
            // What is kept aside is not put back by a plan.
            Origin::Grown(_) => context.control.is_plan(),
            Origin::Found => false,
        };
        let is_there = |machine: Arc<Seen>| machine.node(self.name.as_str()).is_some();
        Ok(may_be && !context.engine.look_again(&self.domain.name)?.is_some_and(is_there))
    }

    /// Looks at the snapshot as it is now; gives `nothing` where it need not be there.
    pub fn look<T>(&self, nothing: T, look: impl FnOnce(&Seen, &Node) -> mlua::Result<T>) -> mlua::Result<T> {
        if self.is_absent()? {
            return Ok(nothing);
        }
        let machine = self.domain.look()?;
        let node = machine.existing(&self.name)?;
        look(&machine, node)
    }

    /// Carries out a blocking call beside the script.
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

/// Makes snapshots of names. One that snaptree would refuse can still be somebody's; it is left to virsh.
pub fn found(domain: &Domain, names: Vec<String>) -> Vec<Snapshot> {
    let names = names.into_iter().filter_map(|name| SnapshotName::existing(name).ok());
    names.map(|name| Snapshot::found(domain, name)).collect()
}
