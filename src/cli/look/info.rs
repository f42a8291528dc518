//! `snaptree info`.

use clap::Args;

use crate::cli::common::session::Session;
use crate::cli::common::which::Which;
use crate::error::{Error, Result};
use crate::name::Target;
use crate::tree;
use crate::ui::Ui;

/// Show a machine or a snapshot in detail
///
/// Pass MACHINE or MACHINE/SNAPSHOT.
#[derive(Args)]
pub struct Info {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Print libvirt's XML
    #[arg(long, conflicts_with = "json")]
    xml: bool,
    /// With --xml and a machine: the XML that its next start will use
    #[arg(long, requires = "xml")]
    inactive: bool,
    #[command(flatten)]
    which: Which,
}

impl Info {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let engine = &session.engine;
        match self.which.target(engine)? {
            Target::Machine(machine) if self.xml => ui.text(&tree::power::xml(engine, &machine, self.inactive)?)?,
            Target::Machine(machine) if self.json => ui.json(&tree::machine_info(engine, &machine)?)?,
            Target::Machine(machine) => ui.machine_info(&tree::machine_info(engine, &machine)?)?,
            Target::Snapshot(path) if self.inactive => {
                return Err(Error::usage(format!("`{path}` is a snapshot, and --inactive is for a machine"))
                    .hint("omit --inactive: a snapshot has only one description"));
            }
            Target::Snapshot(path) if self.xml => ui.text(&tree::snapshot_xml(engine, &path)?)?,
            Target::Snapshot(path) if self.json => ui.json(&tree::snapshot_info(engine, &path)?)?,
            Target::Snapshot(path) => ui.snapshot_info(&tree::snapshot_info(engine, &path)?)?,
        }
        Ok(0)
    }
}
