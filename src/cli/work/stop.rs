//! `snaptree stop`.

use std::time::Duration;

use clap::Args;

use crate::cli::common::session::Session;
use crate::error::Result;
use crate::name::MachineName;
use crate::tree;
use crate::tree::Stopped;
use crate::ui::Ui;

/// Stop forks that `snaptree fork` started, and delete their disks
#[derive(Args)]
pub struct Stop {
    /// Stop the forks of all machines, but none that was started from another store
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Stop only forks that run for longer than this time, such as 90s or 2h
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// A fork's name, or a machine to stop all of its forks
    #[arg(required_unless_present = "all", value_name = "FORK")]
    names: Vec<MachineName>,
}

impl Stop {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let engine = &session.engine;
        if self.all {
            let stopped = tree::stop_all_forks(engine, self.older_than)?;
            self.tell(ui, &stopped, "There is no fork");
        }
        for name in &self.names {
            let stopped = tree::stop_forks(engine, name, self.older_than)?;
            self.tell(ui, &stopped, &format!("There is no fork of `{name}`"));
        }
        Ok(0)
    }

    fn tell(&self, ui: &Ui, stopped: &Stopped, none: &str) {
        for fork in &stopped.ageless {
            ui.status(&format!("Left {fork}: an older snaptree started it, at an unknown time."));
        }
        for fork in &stopped.forks {
            ui.status(&format!("Stopped {fork}."));
        }
        if stopped == &Stopped::default() {
            match self.older_than {
                Some(age) => ui.status(&format!("{none} that is older than {}.", humantime::format_duration(age))),
                None => ui.status(&format!("{none}.")),
            }
        }
    }
}
