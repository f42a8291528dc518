//! `snaptree revert`.

use clap::Args;

use crate::cli::common::confirm::confirm;
use crate::cli::common::session::Session;
use crate::cli::common::which::Which;
use crate::error::Result;
use crate::hypervisor::RevertFlags;
use crate::name::SnapshotPath;
use crate::tree;
use crate::tree::RevertPreview;
use crate::ui::Ui;

/// Revert to a snapshot; `undo` undoes it
#[derive(Args)]
pub struct Revert {
    /// Run the guest afterwards, whatever its state in the snapshot
    #[arg(long, conflicts_with = "paused")]
    running: bool,
    /// Pause the guest afterwards, whatever its state in the snapshot
    #[arg(long)]
    paused: bool,
    /// Revert even if libvirt calls it risky
    #[arg(long)]
    force: bool,
    /// Reset the firmware's variables to their template
    #[arg(long)]
    reset_nvram: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    which: Which,
}

impl Revert {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let path = self.which.snapshot(&session.engine)?;
        let preview = tree::preview_revert(&session.engine, &path)?;
        confirm(ui, &question(&path, &preview), self.yes)?;
        tree::revert(&session.engine, &path, self.flags())?;
        ui.status(&format!("Reverted `{}` to `{}`.", path.machine, path.snapshot));
        Ok(0)
    }

    fn flags(&self) -> RevertFlags {
        RevertFlags { running: self.running, paused: self.paused, force: self.force, reset_nvram: self.reset_nvram }
    }
}

fn question(path: &SnapshotPath, preview: &RevertPreview) -> String {
    let guest = if preview.stops_guest { "stop its guest and " } else { "" };
    let since = preview.current.as_ref().map(|name| format!(" since `{name}`")).unwrap_or_default();
    format!("{guest}put aside the state of `{}`{since}, and revert to `{}`", path.machine, path.snapshot)
}
