//! `snaptree attend`, which other commands start.

use clap::Args;

use crate::cli::common::detach::detach;
use crate::cli::common::session::{Global, Session};
use crate::cli::work::port_pair;
use crate::error::{Error, Result};
use crate::hypervisor::{Forward, Ports};
use crate::name::MachineName;
use crate::ui::Ui;

/// Attend the channel of a running fork for other processes until the fork ends; print what is forwarded
#[derive(Args)]
pub struct Attend {
    #[arg(long, value_parser = port_pair::forward)]
    forward: Vec<Forward>,
    #[arg(long, value_parser = port_pair::back)]
    forward_back: Vec<Forward>,
    name: MachineName,
}

impl Attend {
    pub fn execute(&self, global: &Global, ui: &Ui) -> Result<i32> {
        // Before anything is opened that is to stay open.
        let detached = detach()?;
        let session = Session::open(global, ui)?;
        let engine = &session.engine;
        let ports = Ports { forwards: self.forward.clone(), back: self.forward_back.clone() };
        engine.hypervisor.attend(self.name.as_str(), &ports, &engine.interrupt, &mut |open| {
            let line = serde_json::to_string(open).map_err(|cause| Error::bug("cannot write JSON").cause(cause))?;
            ui.text(&line)?;
            detached.silence()
        })?;
        Ok(0)
    }
}
