//! What was done to guests that were resumed from a live snapshot, so that none believes it is still the frozen one.

use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Because, Result};
use crate::name::SnapshotName;
use crate::tree::files::json_dir::JsonDir;
use crate::tree::record::node::Node;

/// The counts of one live snapshot, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restores {
    /// How many guests were resumed from it.
    pub guests: u64,
    /// How many of them had their clock set.
    pub clocks: u64,
    /// How many got a generation id of their own (`<genid>`), for kernels that use it.
    pub generations: u64,
    /// How many got a machine id, a host name, SSH host keys and a DHCP lease of their own.
    pub identities: u64,
}

impl Restores {
    /// Adds one guest, and what was done to it.
    pub fn add(&mut self, clock: bool, generation: bool) {
        self.guests += 1;
        self.clocks += u64::from(clock);
        self.generations += u64::from(generation);
    }
}

/// The counts as stored, with the snapshot that they belong to.
#[derive(Serialize, Deserialize)]
pub struct Restored {
    pub name: SnapshotName,
    /// The id of its build: a later one of the same name has counts of its own.
    build: String,
    #[serde(flatten)]
    restores: Restores,
}

impl Restored {
    const KIND: &str = "restores";

    pub fn json_dir(machine_directory: &Path) -> JsonDir<Self> {
        JsonDir::of(machine_directory, Self::KIND)
    }
}

/// Returns what was done to the guests that were resumed from a snapshot.
pub fn restores(machine_directory: &Path, node: &Node) -> Restores {
    let name = SnapshotName::existing(node.name()).ok();
    let kept = name.and_then(|name| Restored::json_dir(machine_directory).get(&name));
    kept.filter(|kept| kept.build == node.build()).map(|kept| kept.restores).unwrap_or_default()
}

/// Counts what was done to a guest. The guest is started even if the counts cannot be written.
pub fn count_restore(machine_directory: &Path, node: &Node, count: impl FnOnce(&mut Restores)) {
    let _ = keep(machine_directory, node, count);
}

fn keep(machine_directory: &Path, node: &Node, count: impl FnOnce(&mut Restores)) -> Result<()> {
    let name = SnapshotName::existing(node.name())?;
    let directory = machine_directory.join(Restored::KIND);
    let cannot = || format!("cannot write in `{}`", directory.display());
    crate::paths::make_private(&directory).because(cannot)?;
    // Another process may count at the same time.
    let lock = File::create(directory.join("lock")).because(cannot)?;
    lock.lock().because(cannot)?;
    let mut restores = restores(machine_directory, node);
    count(&mut restores);
    Restored::json_dir(machine_directory).keep(&name, &Restored { name: name.clone(), build: node.build(), restores })
}
