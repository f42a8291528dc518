//! `snaptree run`.

use std::sync::Arc;

use clap::{Args, ValueEnum};

use crate::cli::common::session::{AtCtrlC, Session};
use crate::cli::work::script::Script;
use crate::error::{Error, Result};
use crate::lua::{self, Door, Orders, Planned, Program, Settings};
use crate::repl;
use crate::tree;
use crate::tree::Event;
use crate::ui::Ui;

/// Run a script: reuse existing snapshots, build those that are missing or have changed
#[derive(Args)]
pub struct Run {
    /// Build at most this many branches at the same time
    #[arg(short, long, value_name = "N", default_value_t = default_jobs(), value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// What to do with a branch whose step failed
    #[arg(long, value_name = "WHAT", default_value = "keep")]
    on_error: OnError,
    /// Build nothing, and fail with the plan if anything would be built
    #[arg(long)]
    frozen: bool,
    #[command(flatten)]
    script: Script,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnError {
    /// Keep it for `snaptree log` and `snaptree shell --failed`
    Keep,
    /// Delete it
    Clean,
    /// Open a prompt in it, where retry() runs the step again
    Repl,
}

pub fn default_jobs() -> u16 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(cpus.max(2)).unwrap_or(u16::MAX)
}

impl Run {
    /// Says what Ctrl-C does: if a prompt may open, it never ends the process at once.
    pub fn at_ctrl_c(&self) -> AtCtrlC {
        if self.on_error == OnError::Repl { AtCtrlC::StopTheLine } else { AtCtrlC::End }
    }

    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let orders = self.script.orders(self.frozen);
        let program = self.script.read()?;
        let planned = self.plan(&session, ui, &orders, &program)?;
        let settings = Settings {
            keep_failed: self.on_error != OnError::Clean,
            door: self.door(&session, ui)?,
            ..self.script.settings(&session, self.jobs, &orders)
        };
        let ended = lua::run_script(settings, &program, planned.as_ref())?;
        if let Some(code) = ended.exit_code.filter(|code| *code != 0) {
            return Ok(code);
        }
        let mut trees = Vec::new();
        for machine in &ended.machines {
            // A skipped machine need not exist.
            if session.engine.machine(machine)?.is_some() {
                trees.extend(tree::trees(&session.engine, Some(machine))?);
            }
        }
        ui.progress_trees(&trees, ended.machines.len() > 1);
        Ok(0)
    }

    /// Returns the function that opens a prompt on a failed step, if that is wanted.
    fn door(&self, session: &Session, ui: &Ui) -> Result<Option<Door>> {
        if self.on_error != OnError::Repl {
            return Ok(None);
        }
        if !ui.is_terminal() {
            return Err(Error::usage("--on-error repl needs a terminal")
                .hint("--on-error keep lets `snaptree shell --failed` look around later"));
        }
        let (ui, history) = (ui.clone(), session.paths.history.clone());
        Ok(Some(Arc::new(move |error: &Error| {
            ui.error(error);
            ui.status("This is the failed step: retry() runs it again, Ctrl-D gives up.");
            repl::open(&ui, &history)
        })))
    }

    /// Plans the script silently first if the orders may be wrong, so that nothing is built then.
    fn plan(&self, session: &Session, ui: &Ui, orders: &Orders, program: &Program) -> Result<Option<Planned>> {
        if !orders.need_a_plan() {
            return Ok(None);
        }
        // For a run that builds nothing, this pass is all there is.
        let is_frozen = self.frozen;
        let warnings = ui
            .events()
            .only(move |event| is_frozen && matches!(event, Event::MachineDeclared { .. } | Event::ByChance { .. }));
        let mut planned = lua::plan_script(self.script.settings(session, self.jobs, orders), program, &warnings)?;
        planned.check(orders)?;
        if self.frozen {
            if let Some(failure) = planned.failure {
                return Err(failure);
            }
            planned.narrow(&orders.only);
            if planned.plan.builds {
                ui.progress_plan(&planned.plan);
                return Err(Error::failed("something would be built").hint("--frozen allows no build"));
            }
        }
        Ok(Some(planned))
    }
}
