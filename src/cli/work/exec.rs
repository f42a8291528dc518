//! `snaptree exec`.

use std::time::Duration;

use clap::Args;

use crate::cli::common::session::Session;
use crate::error::{Error, Result};
use crate::hypervisor::{Command, CommandLine};
use crate::name::SnapshotPath;
use crate::stop::Stop;
use crate::tree;
use crate::tree::ForkOptions;
use crate::ui::Ui;

/// Run a command in a throw-away fork of a snapshot, with the command's own output and exit status
#[derive(Args)]
#[command(override_usage = "snaptree exec [OPTIONS] <SNAPSHOT> -- <CMD>...")]
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
    /// MACHINE/SNAPSHOT; if it begins with a dash, put it between two `--`
    snapshot: Option<SnapshotPath>,
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
        let (snapshot, command) = self.what()?;
        let fork = if self.failed {
            tree::fork_failed(engine, &snapshot, options)?
        } else {
            tree::fork(engine, &snapshot, options)?
        };
        let command = Command {
            env: self.environment.iter().cloned().collect(),
            cwd: self.workdir.clone(),
            user: self.user.clone(),
            ..Command::new(CommandLine::Argv(command.to_vec()))
        };
        let stop = Stop::after(self.timeout, &session.engine.interrupt);
        let mut broken = None;
        let exit = fork.run_last(
            &command,
            &input,
            &mut |stream, bytes| {
                if let Err(cause) = ui.pass_through(stream, bytes) {
                    // The reader is gone: the command is ended as a closed pipe would end it here.
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

    /// Returns the snapshot and the command.
    fn what(&self) -> Result<(SnapshotPath, &[String])> {
        let words = self.command.as_slice();
        let (snapshot, command) = match (&self.snapshot, words) {
            (Some(snapshot), command) => (snapshot.clone(), command),
            (None, [snapshot, dashes, command @ ..]) if dashes == "--" => (snapshot.parse()?, command),
            (None, words) => (words.first().map(String::as_str).unwrap_or_default().parse()?, [].as_slice()),
        };
        if command.is_empty() {
            return Err(Error::usage(format!("there is no command for `{snapshot}`"))
                .hint("write it behind `--`: snaptree exec MACHINE/SNAPSHOT -- CMD..."));
        }
        Ok((snapshot, command))
    }
}
