//! `snaptree remove-fork`, which other commands leave their forks to.

use std::path::PathBuf;

use clap::Args;

use crate::cli::common::detach::detach;
use crate::cli::common::session::{Global, Session};
use crate::error::Result;
use crate::tree::Owner;
use crate::ui::Ui;

/// Remove a fork whose command has ended
#[derive(Args)]
pub struct RemoveFork {
    /// The id of the process that made it, whose lock is the standard input
    owner: String,
    /// Its domain
    domain: String,
    /// Its files
    files: Vec<PathBuf>,
}

impl RemoveFork {
    pub fn execute(&self, global: &Global, ui: &Ui) -> Result<i32> {
        // Before anything is opened that is to stay open.
        detach()?;
        let Session { engine, .. } = Session::open_at_once(global, ui)?;
        // If this fails, the next command finds the domain and the files.
        engine.hypervisor.destroy(&self.domain)?;
        for file in &self.files {
            let _ = std::fs::remove_file(file);
        }
        engine.store.removed(&Owner(self.owner.clone()));
        Ok(0)
    }
}
