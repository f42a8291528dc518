//! The command line: arguments in, exit code out.

mod current;
mod delete;
mod doctor;
mod edit;
mod eval;
mod exec;
mod fork;
mod gc;
mod images;
mod info;
mod list;
mod log;
mod plan;
mod repl;
mod revert;
mod run;
mod script;
mod session;
mod shell;
mod snapshot;
mod spec;
mod stop;
mod stubs;
mod tree;
mod undo;
mod which;

use clap::{Args, Parser, Subcommand};

use crate::error::{Error, Result};
use crate::ui::Ui;
use session::{AtCtrlC, Session};

/// Snapshot trees of virtual machines, scripted in Lua
#[derive(Parser)]
#[command(name = "snaptree", version, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// Connect to this hypervisor, as in virsh; `embed` and `fake:` are snaptree's own
    #[arg(short, long, value_name = "URI", global = true)]
    connect: Option<String>,
    /// Say nothing but results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Show the output of every command that runs in a guest
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Subcommand)]
enum Command {
    // Work, looking, snapshots, the cache.
    Run(run::Run),
    Plan(plan::Plan),
    Repl(repl::Repl),
    Eval(eval::Eval),
    Exec(exec::Exec),
    Shell(shell::Shell),
    Fork(fork::Fork),
    Stop(stop::Stop),
    Tree(tree::Tree),
    List(list::List),
    Info(info::Info),
    Current(current::Current),
    Log(log::Log),
    Snapshot(snapshot::Snapshot),
    Edit(edit::Edit),
    Revert(revert::Revert),
    Delete(delete::Delete),
    Undo(undo::Undo),
    Gc(gc::Gc),
    Images(images::Images),
    Doctor(doctor::Doctor),
    Stubs(stubs::Stubs),
}

/// Runs the command line of this process; returns its exit code.
pub fn main() -> i32 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // clap prints help, version and usage errors itself, each to the right stream.
        Err(error) => {
            let _ = error.print();
            return error.exit_code();
        }
    };
    let mut ui = Ui::new(cli.global.quiet, cli.global.verbose);
    if matches!(cli.command, Command::Exec(_)) {
        ui.leave_stderr_to_the_command();
    }
    if matches!(cli.command, Command::Plan(_)) {
        ui.keep_stdout_for_the_result();
    }
    let done = dispatch(&cli, &ui);
    ui.leave();
    match done {
        Ok(code) => code,
        Err(error) => {
            ui.error(&error);
            error.kind.exit_code()
        }
    }
}

fn dispatch(cli: &Cli, ui: &Ui) -> Result<i32> {
    let session = || Session::open(&cli.global, ui);
    match &cli.command {
        Command::Run(run) => run.execute(Session::open_for(&cli.global, ui, run.at_ctrl_c())?, ui),
        Command::Plan(plan) => plan.execute(session()?, ui),
        Command::Repl(repl) => repl.execute(Session::open_for(&cli.global, ui, AtCtrlC::StopTheLine)?, ui),
        Command::Eval(eval) => eval.execute(session()?, ui),
        Command::Exec(exec) => exec.execute(session()?, ui),
        Command::Shell(shell) => shell.execute(ui.terminal()?, session()?, ui),
        Command::Fork(fork) => fork.execute(session()?, ui),
        Command::Stop(stop) => stop.execute(session()?, ui),
        Command::Tree(tree) => tree.execute(session()?, ui),
        Command::List(list) => list.execute(session()?, ui),
        Command::Info(info) => info.execute(session()?, ui),
        Command::Current(current) => current.execute(session()?, ui),
        Command::Log(log) => log.execute(session()?, ui),
        Command::Snapshot(snapshot) => snapshot.execute(session()?, ui),
        Command::Edit(edit) => edit.execute(session()?, ui),
        Command::Revert(revert) => revert.execute(session()?, ui),
        Command::Delete(delete) => delete.execute(session()?, ui),
        Command::Undo(undo) => undo.execute(session()?, ui),
        Command::Gc(gc) => gc.execute(session()?, ui),
        Command::Images(images) => images.execute(ui),
        Command::Doctor(doctor) => doctor.execute(session()?, ui),
        Command::Stubs(stubs) => stubs.execute(ui),
    }
}

/// Asks before something is lost; without a terminal only `--yes` will do.
fn confirm(ui: &Ui, deed: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    match ui.ask(&format!("{deed}?")) {
        Some(true) => Ok(()),
        Some(false) => Err(Error::failed("nothing was changed")),
        None => Err(Error::usage(format!("this would {deed}")).hint("give --yes to do it without being asked")),
    }
}
