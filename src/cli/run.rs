//! `snaptree run`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::session::Session;
use crate::error::Result;
use crate::image::ImageCache;
use crate::lua::{self, Settings};
use crate::ui::Ui;

/// Run a script: reuse what it has built before, build what is missing or has changed
#[derive(Args)]
pub struct Run {
    /// Build at most this many branches at the same time
    #[arg(short, long, value_name = "N", default_value_t = default_jobs(), value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// The Lua script
    script: PathBuf,
    /// Arguments for the script, which it finds in `arg`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

fn default_jobs() -> u16 {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    u16::try_from(cpus.max(2)).unwrap_or(u16::MAX)
}

impl Run {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let images = Arc::new(ImageCache::open(&session.paths.cache)?);
        let settings = Settings {
            engine: Arc::clone(&session.engine),
            connect: session.connector(),
            images,
            jobs: usize::from(self.jobs),
            stdlib: session.paths.stdlib.clone(),
        };
        let machines = lua::run_script(settings, &self.script, &self.arguments)?;
        for machine in &machines {
            session.engine.look_again(machine)?;
            ui.progress_tree(&session.engine.trees(Some(machine))?);
        }
        Ok(0)
    }
}
