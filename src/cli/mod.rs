//! The command line: arguments in, exit code out.

mod change;
mod common;
mod host;
mod look;
mod work;

use std::io;
use std::path::Path;

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use rustix::fs::Mode;
use rustix::process::umask;

use crate::error::{Error, Kind};
use crate::paths;
use crate::signals;
use crate::stop::Interrupt;
use crate::trace;
use crate::ui::{Loss, Ui};
use change::{delete, edit, gc, revert, snapshot, undo};
use common::session::{Global, Session};
use host::{doctor, images, stubs};
use look::{current, forks, info, list, log, tree};
use work::{attend, cp, eval, exec, fork, plan, remove_fork, repl, run, shell, stop};

/// Names the file of a trace.
const TRACE: &str = "SNAPTREE_TRACE";

/// Snapshot trees of virtual machines, scripted in Lua
#[derive(Parser)]
#[command(name = "snaptree", version, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    // Builds and guests, looking, snapshots, the host.
    Run(run::Run),
    Plan(plan::Plan),
    Repl(repl::Repl),
    Eval(eval::Eval),
    Exec(exec::Exec),
    Shell(shell::Shell),
    Console(shell::Console),
    Cp(cp::Cp),
    Fork(fork::Fork),
    Forks(forks::Forks),
    Stop(stop::Stop),
    #[command(hide = true)]
    Attend(attend::Attend),
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
    // What commands leave to a process of its own.
    #[command(hide = true)]
    RemoveFork(remove_fork::RemoveFork),
}

/// Runs the command line of this process; returns its exit code.
pub fn main() -> i32 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.kind() == ErrorKind::InvalidUtf8 => return refuse_bytes(),
        // clap prints help, version and usage errors itself, each to the right stream.
        Err(error) => {
            let is_lost = error.print().is_err_and(|cause| cause.kind() != io::ErrorKind::BrokenPipe);
            return if is_lost && !error.use_stderr() { Kind::Failed.exit_code() } else { error.exit_code() };
        }
    };
    let mut ui = Ui::new(cli.global.quiet, cli.global.verbose, Interrupt::default());
    if matches!(cli.command, Command::Exec(_)) {
        ui.leave_stderr_to_the_command();
    }
    if matches!(cli.command, Command::Plan(_)) {
        ui.keep_stdout_for_the_result();
    }
    // Other users must not write to new files, even if the umask is 0, as in some daemons.
    let asked = umask(Mode::WOTH);
    umask(asked | Mode::WOTH);
    // If $TMPDIR is gone, temporary files go elsewhere. The directory can be set only once.
    let _ = tempfile::env::override_temp_dir(&paths::temporary());
    let done = signals::begin().context("cannot handle signals").and_then(|()| traced(&cli, &ui)).map_err(own);
    ui.leave();
    end(done, &ui)
}

/// Refuses arguments that are not text.
fn refuse_bytes() -> i32 {
    let what = std::env::args_os().find(|argument| argument.to_str().is_none()).unwrap_or_default();
    let error = Error::usage(format!("the argument {what:?} is not UTF-8"))
        .hint("names are in UTF-8; bytes reach a command in a guest through its input, or in a file");
    end(Err(error), &Ui::new(false, false, Interrupt::default()))
}

/// Prints the error, if any, and returns the exit code.
fn end(done: Result<i32, Error>, ui: &Ui) -> i32 {
    /// The exit code of a shell for SIGPIPE.
    const READER_GONE: i32 = 141;
    let error = match (done, ui.loss()) {
        (Err(_), Some(Loss::Reader)) => return READER_GONE,
        (Err(error), Some(Loss::Stdout(loss))) if error.kind == Kind::Interrupted => loss,
        (Err(error), _) | (Ok(_), Some(Loss::Stdout(error))) => error,
        (Ok(code), _) => return code,
    };
    ui.error(&error);
    error.kind.exit_code()
}

/// Returns the error to print. One of ours below any contexts keeps its kind, and so the exit code, and its hint.
fn own(error: anyhow::Error) -> Error {
    let mut contexts = Vec::new();
    for link in error.chain() {
        if let Some(error) = link.downcast_ref::<Error>() {
            let message = contexts.into_iter().chain([error.message.clone()]).collect::<Vec<_>>().join(": ");
            return Error { message, ..error.clone() };
        }
        contexts.push(link.to_string());
    }
    contexts.iter().skip(1).fold(Error::failed(error.to_string()), Error::cause)
}

/// Runs the command, with a trace if one is asked for.
fn traced(cli: &Cli, ui: &Ui) -> anyhow::Result<i32> {
    if let Some(file) = std::env::var_os(TRACE).filter(|file| !file.is_empty()) {
        trace::begin(Path::new(&file))?;
    }
    let span = trace::span("snaptree");
    let done = dispatch(cli, ui);
    drop(span);
    trace::end();
    done
}

fn dispatch(cli: &Cli, ui: &Ui) -> anyhow::Result<i32> {
    let session = || Session::open(&cli.global, ui);
    let at_once = || Session::open_at_once(&cli.global, ui);
    let code = match &cli.command {
        Command::Run(run) => run.execute(Session::open_for(&cli.global, ui, run.at_ctrl_c())?, ui),
        Command::Plan(plan) => plan.execute(session()?, ui),
        Command::Repl(repl) => repl.execute(Session::open_for(&cli.global, ui, repl::Repl::at_ctrl_c(ui))?, ui),
        Command::Eval(eval) => eval.execute(session()?, ui),
        Command::Exec(exec) => exec.execute(at_once()?, ui),
        Command::Shell(shell) => shell.execute(ui.terminal("shell")?, at_once()?, ui),
        Command::Console(console) => console.execute(ui.terminal("console")?, at_once()?, ui),
        Command::Cp(cp) => cp.execute(at_once()?, ui),
        Command::Fork(fork) => fork.execute(at_once()?, ui),
        Command::Forks(forks) => forks.execute(session()?, ui),
        Command::Stop(stop) => stop.execute(session()?, ui),
        Command::Attend(attend) => attend.execute(&cli.global, ui),
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
        Command::RemoveFork(remove_fork) => remove_fork.execute(&cli.global, ui),
    };
    Ok(code?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_ours_keeps_its_kind_and_hint_below_contexts() {
        let ours = || Error::new(Kind::Timeout, "it took too long").hint("wait");
        assert_eq!(own(ours().into()).to_string(), "it took too long\nhint: wait");
        let error = own(anyhow::Error::from(ours()).context("cannot look").context("cannot list"));
        assert_eq!(
            (error.kind, error.to_string().as_str()),
            (Kind::Timeout, "cannot list: cannot look: it took too long\nhint: wait")
        );
    }

    #[test]
    fn an_error_of_others_fails_with_its_causes() {
        let error = own(anyhow::Error::from(std::io::Error::from_raw_os_error(2)).context("cannot handle signals"));
        let message = "cannot handle signals: No such file or directory";
        assert_eq!((error.kind, error.to_string().as_str()), (Kind::Failed, message));
    }
}
