//! Where a command or a terminal runs: in a fork that ends with it, or in what is running already.

use std::ops::Deref;
use std::sync::Arc;

use crate::cli::common::background;
use crate::cli::common::which::which_failed;
use crate::error::Result;
use crate::hypervisor::Guest;
use crate::name::Target;
use crate::trace;
use crate::tree;
use crate::tree::{Builder, Engine, ForkOptions};

/// A guest, and the fork that ends with this value, if it is one.
pub struct Inside {
    pub fork: Option<ThrowAway>,
    pub guest: Arc<dyn Guest>,
}

impl Inside {
    pub fn open(engine: &Arc<Engine>, target: &Target, failed: bool) -> Result<Self> {
        let fork = fork(engine, target, failed)?;
        let guest = match &fork {
            Some(fork) => fork.guest(),
            None => tree::running_guest(engine, target.machine())?,
        };
        Ok(Self { fork, guest })
    }
}

/// Starts a fork, if a snapshot is named.
pub fn fork(engine: &Arc<Engine>, target: &Target, failed: bool) -> Result<Option<ThrowAway>> {
    let options = ForkOptions::default();
    let fork = match target {
        Target::Snapshot(path) if failed => tree::fork_failed(engine, path, options)?,
        Target::Snapshot(path) => tree::fork(engine, path, options)?,
        Target::Machine(machine) if failed => return Err(which_failed(machine)),
        Target::Machine(_) => return Ok(None),
    };
    Ok(Some(ThrowAway { fork: Some(fork), engine: Arc::clone(engine) }))
}

/// A fork that ends with this value. A process of its own removes it, where one can.
pub struct ThrowAway {
    fork: Option<Builder>,
    engine: Arc<Engine>,
}

impl Deref for ThrowAway {
    type Target = Builder;

    fn deref(&self) -> &Builder {
        match &self.fork {
            Some(fork) => fork,
            None => unreachable!("only `drop` takes it"),
        }
    }
}

impl Drop for ThrowAway {
    fn drop(&mut self) {
        let Some(fork) = self.fork.take() else { return };
        let _span = trace::span("leave the clone");
        if background::remove(&self.engine, fork.domain(), fork.files()) {
            fork.leave();
        }
    }
}
