//! `snaptree run`.

use clap::{Args, ValueEnum};

use super::script::Script;
use super::session::Session;
use crate::error::{Error, Result};
use crate::lua::{self, Orders, Planned, Settings};
use crate::tree::Event;
use crate::ui::Ui;

/// Run a script: reuse what it has built before, build what is missing or has changed
#[derive(Args)]
pub struct Run {
    /// Build at most this many branches at the same time
    #[arg(short, long, value_name = "N", default_value_t = default_jobs(), value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// Keep what is left of a branch whose step failed, to look at it, or clean up
    #[arg(long, value_name = "WHAT", default_value = "keep")]
    on_error: OnError,
    /// Fail, with the plan, when anything would be built; build nothing
    #[arg(long)]
    frozen: bool,
    #[command(flatten)]
    script: Script,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnError {
    Keep,
    Clean,
}

fn default_jobs() -> u16 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(cpus.max(2)).unwrap_or(u16::MAX)
}

impl Run {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let orders = self.script.orders(self.frozen);
        let planned = self.plan(&session, ui, &orders)?;
        let settings = Settings {
            keep_failed: self.on_error == OnError::Keep,
            ..self.script.settings(&session, self.jobs, &orders)
        };
        let machines = lua::run_script(settings, planned.as_ref())?;
        let mut trees = Vec::new();
        for machine in &machines {
            // One that is left alone need not be there.
            if session.engine.machine(machine)?.is_some() {
                trees.extend(session.engine.trees(Some(machine))?);
            }
        }
        ui.progress_trees(&trees, machines.len() > 1);
        Ok(0)
    }

    /// Goes through the script without a word first, where the orders can be wrong: nothing must be built then.
    fn plan(&self, session: &Session, ui: &Ui, orders: &Orders) -> Result<Option<Planned>> {
        if !orders.need_a_plan() {
            return Ok(None);
        }
        // Of a run that builds nothing, this pass is all that there is.
        let is_frozen = self.frozen;
        let warnings = ui
            .events()
            .only(move |event| is_frozen && matches!(event, Event::MachineDeclared { .. } | Event::ByChance { .. }));
        let mut planned = lua::plan_script(self.script.settings(session, self.jobs, orders), &warnings)?;
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
