//! `snaptree revert`.

use clap::Args;

use crate::cli::common::confirm::confirm;
use crate::cli::common::session::Session;
use crate::cli::common::which::Which;
use crate::error::Result;
use crate::hypervisor::RevertFlags;
use crate::ui::Ui;

/// Go back to a snapshot; `undo` takes that back
#[derive(Args)]
pub struct Revert {
    /// Have the guest run afterwards, whatever the snapshot says
    #[arg(long, conflicts_with = "paused")]
    running: bool,
    /// Have the guest paused afterwards, whatever the snapshot says
    #[arg(long)]
    paused: bool,
    /// Also where libvirt calls it risky
    #[arg(long)]
    force: bool,
    /// Make the firmware's variables anew from their template
    #[arg(long)]
    reset_nvram: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    which: Which,
}

impl Revert {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let path = self.which.snapshot(&session.engine)?;
        confirm(ui, &session.engine.what_revert_does(&path)?, self.yes)?;
        session.engine.revert(&path, self.flags())?;
        ui.status(&format!("Reverted `{}` to `{}`.", path.machine, path.snapshot));
        Ok(0)
    }

    fn flags(&self) -> RevertFlags {
        RevertFlags { running: self.running, paused: self.paused, force: self.force, reset_nvram: self.reset_nvram }
    }
}
