//! `snaptree exec`.

use std::time::Duration;

use clap::Args;

use super::session::Session;
use crate::error::{Error, Result};
use crate::hypervisor::{Command, CommandLine};
use crate::name::SnapshotPath;
use crate::stop::Stop;
use crate::tree::ForkOptions;
use crate::ui::Ui;

/// Run a command in a throw-away fork of a snapshot; its output and exit status are the command's
#[derive(Args)]
pub struct Exec {
    /// Run it as this user of the guest
    #[arg(short, long)]
    user: Option<String>,
    /// Run it in this directory of the guest
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Add NAME=VALUE to its environment
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = name_and_value)]
    environment: Vec<(String, String)>,
    /// Stop it after this time, such as 90s or 10m
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Run it in what is left of the last build of that snapshot that failed
    #[arg(long)]
    failed: bool,
    /// MACHINE/SNAPSHOT
    snapshot: SnapshotPath,
    /// The command and its arguments; no shell is involved
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<String>,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_string(), value.to_string())),
        _ => Err("it is written NAME=VALUE".to_string()),
    }
}

impl Exec {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let input = ui.read_stdin();
        let engine = &session.engine;
        let options = ForkOptions::default();
        let fork = if self.failed {
            engine.fork_failed(&self.snapshot, options)?
        } else {
            engine.fork(&self.snapshot, options)?
        };
        let command = Command {
            env: self.environment.iter().cloned().collect(),
            cwd: self.workdir.clone(),
            user: self.user.clone(),
            ..Command::new(CommandLine::Argv(self.command.clone()))
        };
        let stop = Stop::after(self.timeout, &session.engine.interrupt);
        let mut broken = None;
        let exit = fork.run_last(
            &command,
            &input,
            &mut |stream, bytes| {
                if let Err(cause) = ui.pass_through(stream, bytes) {
                    // Nobody reads any more: the command is ended as a closed pipe would end it here.
                    broken.get_or_insert(cause);
                    session.engine.interrupt.raise();
                }
            },
            &stop,
        );
        match broken {
            Some(cause) => Err(Error::failed("cannot write the command's output").cause(cause)),
            None => exit.map(|exit| exit.0),
        }
    }
}
