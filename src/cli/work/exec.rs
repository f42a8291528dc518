//! `snaptree exec`.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::cli::common::session::Session;
use crate::cli::common::which::which_failed;
use crate::error::{Error, Result};
use crate::hypervisor::{Command, CommandLine, Guest};
use crate::name::Target;
use crate::stop::Stop;
use crate::tree;
use crate::tree::{Builder, ForkOptions};
use crate::ui::Ui;

/// Run a command in a throw-away fork of a snapshot, or in what is running: a fork or a machine
///
/// Output and exit status are the command's own. In a running fork or machine, any number of commands may run at the
/// same time.
#[derive(Args)]
#[command(override_usage = "snaptree exec [OPTIONS] <TARGET> -- <CMD>...")]
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
    /// Run it in the last failed build of that snapshot
    #[arg(long)]
    failed: bool,
    /// MACHINE/SNAPSHOT for a throw-away fork; FORK or MACHINE for one that is running. If it begins with a dash, put it
    /// between two `--`
    target: Option<Target>,
    /// The command and its arguments; no shell is involved
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Where a command runs.
enum In {
    /// A fork that ends with it.
    Fork(Builder),
    Running(Arc<dyn Guest>),
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
        let (target, command) = self.what()?;
        let guest = match &target {
            Target::Snapshot(path) if self.failed => In::Fork(tree::fork_failed(engine, path, options)?),
            Target::Snapshot(path) => In::Fork(tree::fork(engine, path, options)?),
            Target::Machine(machine) if self.failed => {
                return Err(which_failed(machine));
            }
            Target::Machine(name) => In::Running(tree::running_guest(engine, name)?),
        };
        let command = Command {
            env: self.environment.iter().cloned().collect(),
            cwd: self.workdir.clone(),
            user: self.user.clone(),
            ..Command::new(CommandLine::Argv(command.to_vec()))
        };
        let stop = Stop::after(self.timeout, &session.engine.interrupt);
        let mut broken = None;
        let mut output = |stream, bytes: &[u8]| {
            if let Err(cause) = ui.pass_through(stream, bytes) {
                // The reader is gone: the command is ended as a closed pipe would end it here.
                broken.get_or_insert(cause);
                session.engine.interrupt.raise();
            }
        };
        let exit = match &guest {
            In::Fork(fork) => fork.run_last(&command, &input, &mut output, &stop),
            In::Running(guest) => guest.run_with_input(&command, &input, &mut output, &stop),
        };
        match broken {
            Some(cause) => Err(Error::failed("cannot write the command's output").cause(cause)),
            None => exit.map(|exit| exit.0),
        }
    }

    /// Returns where to run the command, and the command.
    fn what(&self) -> Result<(Target, &[String])> {
        let words = self.command.as_slice();
        let (target, command) = match (&self.target, words) {
            (Some(target), command) => (target.clone(), command),
            (None, [target, dashes, command @ ..]) if dashes == "--" => (target.parse()?, command),
            (None, words) => (words.first().map(String::as_str).unwrap_or_default().parse()?, [].as_slice()),
        };
        if command.is_empty() {
            return Err(Error::usage(format!("there is no command for `{target}`"))
                .hint("write it behind `--`: snaptree exec MACHINE/SNAPSHOT -- CMD..."));
        }
        Ok((target, command))
    }
}
