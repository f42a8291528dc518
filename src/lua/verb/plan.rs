//! A plan: records what a run would build or do, and gives the script placeholders to continue with.

use std::sync::Arc;

use mlua::Lua;

use crate::error::Result;
use crate::lua::handle::domain::Domain;
use crate::lua::handle::snapshot::Snapshot;
use crate::lua::runtime::snapshot_origin::SnapshotOrigin;
use crate::lua::verb::step::Branch;
use crate::name::SnapshotName;
use crate::tree::{Found, NodeStatus, Placeholder, Reason};

/// Adds a root to the plan, and returns its placeholder.
pub fn root(domain: &Domain, name: SnapshotName, found: Found) -> Snapshot {
    note(domain, name, None, standing(&found), found)
}

/// Adds branches to the plan, and returns their placeholders. If the parent does not exist, nothing is known of a step.
pub async fn branches(lua: &Lua, parent: &Snapshot, branches: &[Branch]) -> Result<Vec<Snapshot>> {
    let domain = &parent.domain;
    let mut planned = Vec::with_capacity(branches.len());
    for branch in branches {
        let (standing, found) = match parent.hollow() {
            Some(is) => {
                let exists = domain.context.engine.machine(&domain.name)?;
                let exists = exists.is_some_and(|machine| machine.node(branch.wanted.name.as_str()).is_some());
                let below = NodeStatus::Below(parent.name.to_string(), is);
                (if exists { below } else { NodeStatus::Needed(Reason::Missing) }, Found::Needed(Reason::Missing))
            }
            None => {
                let node = parent.node().await?;
                let found = branch.reuse(lua, &domain.context, &node).await?;
                domain.context.warn_of_chance(&domain.name, &branch.wanted.name, &found);
                (standing(&found), found)
            }
        };
        planned.push(note(domain, branch.wanted.name.clone(), Some(parent), standing, found));
    }
    Ok(planned)
}

fn standing(found: &Found) -> NodeStatus {
    match found {
        Found::Cached(_) => NodeStatus::Cached,
        Found::KeptAside(_) => NodeStatus::KeptAside,
        Found::Needed(reason) => NodeStatus::Needed(reason.clone()),
    }
}

fn note(
    domain: &Domain,
    name: SnapshotName,
    parent: Option<&Snapshot>,
    standing: NodeStatus,
    found: Found,
) -> Snapshot {
    let context = Arc::clone(&domain.context);
    let status = standing.status();
    if let Some(mut plan) = context.control.plan() {
        let parent = parent.map(|parent| parent.name.as_str());
        plan.add(&context.engine.uri(), domain.name.as_str(), name.as_str(), parent, standing);
    }
    let origin = match found {
        Found::Cached(node) | Found::KeptAside(node) => SnapshotOrigin::Grown(node),
        Found::Needed(_) => SnapshotOrigin::Hollow(Placeholder::Planned(status)),
    };
    Snapshot::remembered(domain, name, origin)
}
