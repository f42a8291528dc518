//! Where a command or a terminal runs: in a fork that ends with it, or in what is running already.

use std::sync::Arc;

use crate::cli::common::which::which_failed;
use crate::error::Result;
use crate::hypervisor::Guest;
use crate::name::Target;
use crate::tree;
use crate::tree::{Builder, Engine, ForkOptions};

/// A guest, and the fork that ends with this value, if it is one.
pub struct Inside {
    pub fork: Option<Builder>,
    pub guest: Arc<dyn Guest>,
}

impl Inside {
    pub fn open(engine: &Engine, target: &Target, failed: bool) -> Result<Self> {
        let fork = fork(engine, target, failed)?;
        let guest = match &fork {
            Some(fork) => fork.guest(),
            None => tree::running_guest(engine, target.machine())?,
        };
        Ok(Self { fork, guest })
    }
}

/// Starts a fork, if a snapshot is named.
pub fn fork(engine: &Engine, target: &Target, failed: bool) -> Result<Option<Builder>> {
    match target {
        Target::Snapshot(path) if failed => tree::fork_failed(engine, path, ForkOptions::default()).map(Some),
        Target::Snapshot(path) => tree::fork(engine, path, ForkOptions::default()).map(Some),
        Target::Machine(machine) if failed => Err(which_failed(machine)),
        Target::Machine(_) => Ok(None),
    }
}
