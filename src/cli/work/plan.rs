//! `snaptree plan`.

use clap::Args;

use crate::cli::common::session::Session;
use crate::cli::work::script::Script;
use crate::error::Result;
use crate::lua;
use crate::tree::Event;
use crate::ui::Ui;

/// The exit code if anything would be built.
const BUILDS: i32 = 2;

/// Show what a run would build and why, without building it; exit 2 if anything would be built
///
/// Actions that the script would do at once, such as starting a machine, are listed but not done.
#[derive(Args)]
pub struct Plan {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    script: Script,
}

impl Plan {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let orders = self.script.orders(false);
        let printed = ui.events().only(|event| {
            matches!(
                event,
                Event::Printed(_)
                    | Event::OutputLost(_)
                    | Event::Note(_)
                    | Event::MachineDeclared { .. }
                    | Event::ByChance { .. }
            )
        });
        let program = self.script.read()?;
        let mut planned = lua::plan_script(self.script.settings(&session, 1, &orders), &program, &printed)?;
        if let Some(failure) = planned.failure {
            return Err(failure);
        }
        planned.check(&orders)?;
        planned.narrow(&orders.only);
        if self.json {
            ui.json(&planned.plan)?;
        } else {
            ui.plan(&planned.plan)?;
        }
        Ok(if planned.plan.builds { BUILDS } else { 0 })
    }
}
