//! `snaptree repl`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::cli::common::session::{AtCtrlC, Session};
use crate::cli::work::run::default_jobs;
use crate::error::Result;
use crate::lua::{self, Orders, Script, Settings};
use crate::repl;
use crate::ui::Ui;

/// Open a Lua prompt: try things in a working fork, undo them, keep what worked, save it as a script
///
/// Without a terminal, it reads lines from standard input and stops at the first one that fails.
#[derive(Args)]
pub struct Repl {
    /// Run this script first; `.reload` runs it again
    script: Option<PathBuf>,
    /// Arguments for the script, which it finds in `arg`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Returns the settings with which lines are run.
pub fn settings<'a>(session: &'a Session, orders: &'a Orders) -> Settings<'a> {
    Settings {
        engine: Arc::clone(&session.engine),
        connect: session.connector(),
        cache: &session.paths.cache,
        jobs: usize::from(default_jobs()),
        keep_failed: true,
        door: None,
        stdlib: &session.paths.stdlib,
        orders,
    }
}

impl Repl {
    /// Says what Ctrl-C does: at a terminal it ends the line, otherwise the command.
    pub fn at_ctrl_c(ui: &Ui) -> AtCtrlC {
        if ui.is_terminal() { AtCtrlC::StopTheLine } else { AtCtrlC::End }
    }

    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let orders = Orders::default();
        let settings = settings(&session, &orders);
        let script = self.script.as_deref().map(|file| Script { file, arguments: &self.arguments });
        if ui.is_terminal() {
            ui.status("help() explains, .help lists the commands, Ctrl-D leaves.");
            let asks = repl::open(ui, &session.paths.history);
            lua::run_prompt(&settings, script, asks, |error| {
                ui.error(error);
                Ok(())
            })
        } else {
            let (asks, lines) = repl::read(ui);
            let code = lua::run_prompt(&settings, script, asks, |error| Err(error.clone()))?;
            lines.end()?;
            Ok(code)
        }
    }
}
