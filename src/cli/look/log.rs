//! `snaptree log`.

use clap::Args;

use crate::cli::common::session::Session;
use crate::cli::common::which::Which;
use crate::error::Result;
use crate::name::SnapshotPath;
use crate::tree;
use crate::ui::Ui;

/// Show the operations that built a snapshot, with their results
///
/// If its last build failed, that build's log follows. Long output is cut to its last lines; --verbose shows all of it.
#[derive(Args)]
pub struct Log {
    /// Show only the last failed build
    #[arg(long)]
    failed: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

impl Log {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let path = self.which.snapshot(&session.engine)?;
        let engine = &session.engine;
        let log = if self.failed { tree::failed_log(engine, &path)? } else { tree::log(engine, &path)? };
        if self.json {
            ui.json(&log)?;
        } else if log.inputs.is_empty() && log.operations.is_empty() && log.failed.is_none() {
            ui.text(&why_empty(&path, &session)?)?;
        } else {
            ui.log(&log)?;
        }
        Ok(0)
    }
}

fn why_empty(path: &SnapshotPath, session: &Session) -> Result<String> {
    let info = tree::snapshot_info(&session.engine, path)?;
    Ok(match (info.snapshot.key, info.snapshot.parent) {
        (None, _) => format!("no script made `{path}`: nothing is recorded of it"),
        (Some(_), None) => format!("`{path}` is a root: no operation made it"),
        (Some(_), Some(_)) => format!("the step that made `{path}` had no operations"),
    })
}
