//! `snaptree exec`.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use clap::Args;

use crate::cli::common::inside::Inside;
use crate::cli::common::session::Session;
use crate::cli::common::signal_relay::SignalRelay;
use crate::cli::work::shell::with_terminal_type;
use crate::error::{Error, Result};
use crate::hypervisor::{Command, CommandLine, Exit, Guest, Input, Stream};
use crate::name::Target;
use crate::stop::Stop;
use crate::tree;
use crate::tree::Engine;
use crate::ui::{End, Terminal, Ui};

/// Run a command in a throw-away fork of a snapshot, or in what is running: a fork or a machine
///
/// Output and exit status are the command's own. In a running fork or machine, any number of commands may run at the
/// same time. SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 go to the command; the second of the first four kills
/// it.
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
    /// Run it on a terminal of the guest, connected to this one; output and errors are one then
    #[arg(short, long)]
    tty: bool,
    /// As in docker: pass the standard input on, which is always done
    #[arg(short, long)]
    interactive: bool,
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

/// Runs a command on a terminal of the guest, connected to ours.
fn on_terminal(
    engine: &Engine,
    guest: &Arc<dyn Guest>,
    command: &Command,
    terminal: Terminal,
    target: &Target,
) -> Result<i32> {
    let console = tree::open_terminal(engine, guest, command, terminal.size())?.map_err(|why| {
        Error::failed(format!("there is no terminal in `{target}`"))
            .cause(why)
            .hint("leave out --tty, or open the serial console with `snaptree console`")
    })?;
    match terminal.attach(console, None, &engine.interrupt)? {
        End::Exited(exit) => Ok(exit.0),
        End::Left => Ok(0),
        End::ShutDown => {
            Err(Error::failed(format!("lost `{}` in the guest", command.line.title())).cause("it has shut down"))
        }
    }
}

/// Runs a command, to which signals go. A guest agent cannot send them: there, the first one kills the command.
fn run(
    session: &Session,
    guest: &dyn Guest,
    command: &Command,
    input: &Input,
    output: &mut dyn FnMut(Stream, &[u8]),
    stop: &Stop,
) -> Result<Exit> {
    let (_relay, signals) = match guest.obstacle(stop)? {
        None => SignalRelay::start(session).map(|(relay, signals)| (Some(relay), signals))?,
        Some(_) => (None, mpsc::channel().1),
    };
    guest.run_with_input(command, input, &signals, output, stop)
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_string(), value.to_string())),
        _ => Err("it is written NAME=VALUE".to_string()),
    }
}

impl Exec {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let engine = &session.engine;
        let (target, command) = self.what()?;
        let terminal = if self.tty { Some(ui.terminal("exec --tty")?) } else { None };
        let Inside { fork: _fork, guest } = Inside::open(engine, &target, self.failed)?;
        let command = Command {
            env: self.environment.iter().cloned().collect(),
            cwd: self.workdir.clone(),
            user: self.user.clone(),
            ..Command::new(CommandLine::Argv(command.to_vec()))
        };
        if let Some(terminal) = terminal {
            return on_terminal(engine, &guest, &with_terminal_type(command), terminal, &target);
        }
        let stop = Stop::after(self.timeout, &session.engine.interrupt);
        let mut broken = None;
        let mut output = |stream, bytes: &[u8]| {
            if let Err(cause) = ui.pass_through(stream, bytes) {
                // The reader is gone: the command is ended as a closed pipe would end it here.
                broken.get_or_insert(cause);
                session.engine.interrupt.raise();
            }
        };
        let exit = run(&session, &*guest, &command, &ui.read_stdin(), &mut output, &stop);
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
