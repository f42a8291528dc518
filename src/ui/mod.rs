//! Everything that the user sees: the only consumer of the engine's events, and the only printer.

mod by_hand;
mod facts;
mod outlets;
mod progress;
mod record;
mod table;
mod terminal;
mod words;

use parking_lot::{Mutex, MutexGuard};
use std::io::{self, IsTerminal, Read};
use std::sync::Arc;
use std::sync::mpsc;

use serde::Serialize;

use crate::clock;
use crate::error::{Error, Result};
use crate::hypervisor::{Input, Stream};
use crate::image::CachedImage;
use crate::name::MachineName;
use crate::stop::Interrupt;
use crate::tree::{
    Checkup, Collected, Events, ForkInfo, Log, MachineInfo, MachineView, Plan, SnapshotInfo, SnapshotView, TreeView,
    UndoView,
};
pub use outlets::Loss;
use outlets::{Outlets, write_all};
use progress::Progress;
use terminal::Settings;
pub use terminal::{End, LeaveKey, Terminal};

/// The terminal, or its replacement: results go to stdout, everything else to stderr.
#[derive(Clone)]
pub struct Ui {
    progress: Arc<Mutex<Progress>>,
    outlets: Outlets,
    /// The terminal's settings from before the line that the user is typing.
    before_typing: Arc<Mutex<Option<Settings>>>,
    quiet: bool,
    verbose: bool,
}

impl Ui {
    /// Makes one that ends the run through `interrupt` if the reader of its output goes away.
    pub fn new(quiet: bool, verbose: bool, interrupt: Interrupt) -> Self {
        Self::with(quiet, verbose, Outlets::new(interrupt))
    }

    fn with(quiet: bool, verbose: bool, outlets: Outlets) -> Self {
        let bars = io::stderr().is_terminal() && !quiet;
        let progress = Arc::new(Mutex::new(Progress::new(quiet, verbose, bars, outlets.clone())));
        Self { progress, outlets, before_typing: Arc::default(), quiet, verbose }
    }

    /// Returns the interrupt that a signal or lost output raises.
    pub fn interrupt(&self) -> Interrupt {
        self.outlets.interrupt().clone()
    }

    /// Says whether output was lost.
    pub fn loss(&self) -> Option<Loss> {
        self.outlets.loss()
    }

    /// Keeps progress off a stderr that belongs to a guest's command, unless it is a terminal.
    pub fn leave_stderr_to_the_command(&mut self) {
        if !io::stderr().is_terminal() && !self.verbose {
            *self = Self::with(true, false, self.outlets.clone());
        }
    }

    /// Sends what a script prints to stderr, since stdout is for the command's result.
    pub fn keep_stdout_for_the_result(&mut self) {
        self.progress.lock().keep_stdout_for_the_result();
    }

    /// Returns the sink for the engine's events.
    pub fn events(&self) -> Events {
        let progress = Arc::clone(&self.progress);
        Events::new(move |event| progress.lock().show(event))
    }

    /// Prints lines with `above` while the returned value lives, since the user is typing on the last line.
    pub fn begin_typing(&self, above: impl FnMut(String) + Send + 'static) -> Typing {
        self.progress.lock().begin_typing(Box::new(above));
        *self.before_typing() = Settings::now();
        Typing(self.clone())
    }

    /// Restores the terminal's settings if the process ends while the user is typing a line.
    pub fn leave(&self) {
        if let Some(before) = self.before_typing().take() {
            before.restore();
        }
    }

    fn before_typing(&self) -> MutexGuard<'_, Option<Settings>> {
        self.before_typing.lock()
    }

    /// Says whether the terminal should have colours (<https://no-color.org>).
    pub fn has_colours(&self) -> bool {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        io::stdout().is_terminal() && !is_unwanted && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// Prints `error: ...` with all causes and hints.
    pub fn error(&self, error: &Error) {
        let mut progress = self.progress.lock();
        progress.clear();
        // It may contain a guest's output.
        format!("error: {error}").lines().for_each(|line| progress.line(&words::tame(line)));
    }

    /// Prints a line about what was done, except in quiet mode.
    pub fn status(&self, line: &str) {
        if !self.quiet {
            self.line(&words::tame(line));
        }
    }

    /// Prints what a collection removed, what it left, and why.
    pub fn collected(&self, machine: &MachineName, collected: &Collected) {
        for (file, bytes) in &collected.removed {
            self.status(&words::tame(&format!("Removed `{}` ({}).", file.display(), words::size(*bytes))));
        }
        for (file, why) in &collected.left {
            self.status(&words::tame(&format!("Left `{}`: {why}.", file.display())));
        }
        self.status(&format!("Freed {} of `{machine}`.", words::size(collected.freed())));
    }

    /// Says whether input and output are both a terminal.
    pub fn is_terminal(&self) -> bool {
        Terminal::is_there()
    }

    /// Returns the terminal that the standard input and output both are.
    pub fn terminal(&self, command: &str) -> Result<Terminal> {
        Terminal::open(command)
    }

    fn line(&self, line: &str) {
        self.progress.lock().line(line);
    }

    /// Asks a yes-or-no question; returns `None` without a terminal.
    pub fn ask(&self, question: &str) -> Result<Option<bool>> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Ok(None);
        }
        let _ = write_all(&mut io::stderr().lock(), format!("{question} [y/N] ").as_bytes());
        let asked = terminal::wait_for_line(self.outlets.interrupt());
        if asked.is_err() {
            let _ = write_all(&mut io::stderr().lock(), b"\n");
        }
        asked?;
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer);
        Ok(read.is_ok().then(|| matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")))
    }

    /// Starts to read the standard input in the background, unless it is a terminal.
    pub fn read_stdin(&self) -> Input {
        // It is read only a little ahead, since it may be of any size.
        const PIECES_AHEAD: usize = 4;
        let (sender, receiver) = mpsc::sync_channel(PIECES_AHEAD);
        if !io::stdin().is_terminal() {
            std::thread::spawn(move || {
                let mut buffer = vec![0; 64 << 10];
                loop {
                    let piece = match io::stdin().lock().read(&mut buffer) {
                        Ok(0) => return,
                        Ok(length) => Ok(buffer[..length].to_vec()),
                        Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                        Err(cause) => Err(Error::failed("cannot read the standard input").cause(cause)),
                    };
                    let has_failed = piece.is_err();
                    // The receiver is gone if the command has ended.
                    if sender.send(piece).is_err() || has_failed {
                        return;
                    }
                }
            });
        }
        receiver
    }

    /// Passes on a guest command's output as it is.
    pub fn pass_through(&self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let written = match stream {
            Stream::Stdout => write_all(&mut io::stdout().lock(), bytes),
            Stream::Stderr => write_all(&mut io::stderr().lock(), bytes),
        };
        self.outlets.note(stream, &written);
        written
    }

    /// Prints trees as results.
    pub fn trees(&self, trees: &[TreeView], with_names: bool) -> Result<()> {
        self.print(&words::tame(&TreeView::draw_all(trees, with_names)))
    }

    /// Prints trees as the end of a run's report.
    pub fn progress_trees(&self, trees: &[TreeView], with_names: bool) {
        if !trees.is_empty() {
            self.status(TreeView::draw_all(trees, with_names).trim_end());
        }
    }

    /// Prints a plan as a result.
    pub fn plan(&self, plan: &Plan) -> Result<()> {
        self.print(&plan.to_string())
    }

    /// Prints a plan as the reason of a failure.
    pub fn progress_plan(&self, plan: &Plan) {
        self.line(plan.to_string().trim_end());
    }

    pub fn json(&self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value).map_err(|cause| Error::bug("cannot write JSON").cause(cause))?;
        self.text(&text)
    }

    /// Prints a text, such as a name or an XML document, with a line end.
    pub fn text(&self, text: &str) -> Result<()> {
        self.print(&format!("{}\n", text.trim_end_matches('\n')))
    }

    /// Prints a name on each line.
    pub fn names<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<()> {
        self.print(&names.map(|name| format!("{name}\n")).collect::<String>())
    }

    pub fn machines(&self, machines: &[MachineView]) -> Result<()> {
        self.print(&words::tame(&table::machines(machines)))
    }

    pub fn snapshots(&self, snapshots: &[SnapshotView], with_parent: bool) -> Result<()> {
        self.print(&words::tame(&table::snapshots(snapshots, with_parent)))
    }

    pub fn machine_info(&self, info: &MachineInfo) -> Result<()> {
        self.print(&words::tame(&facts::machine(info)))
    }

    pub fn snapshot_info(&self, info: &SnapshotInfo) -> Result<()> {
        self.print(&words::tame(&facts::snapshot(info)))
    }

    /// Prints the log of a snapshot, in verbose mode with all of the output.
    pub fn log(&self, log: &Log) -> Result<()> {
        self.print(&record::text(log, self.verbose))
    }

    pub fn checkup(&self, checkup: &Checkup) -> Result<()> {
        self.print(&facts::checkup(checkup))
    }

    pub fn undo_entries(&self, entries: &[UndoView]) -> Result<()> {
        self.print(&words::tame(&table::undo(entries)))
    }

    pub fn forks(&self, forks: &[ForkInfo]) -> Result<()> {
        self.print(&words::tame(&table::forks(forks, clock::now())))
    }

    pub fn images(&self, images: &[CachedImage]) -> Result<()> {
        self.print(&table::images(images))
    }

    /// Writes a result to the standard output. It is not a failure if the reader stops early.
    fn print(&self, text: &str) -> Result<()> {
        let written = write_all(&mut io::stdout().lock(), text.as_bytes());
        self.outlets.note(Stream::Stdout, &written);
        match written {
            Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => Err(outlets::cannot_write(&cause)),
            _ => Ok(()),
        }
    }
}

/// The user is typing while this lives.
pub struct Typing(Ui);

impl Drop for Typing {
    fn drop(&mut self) {
        *self.0.before_typing() = None;
        self.0.progress.lock().end_typing();
    }
}

#[cfg(test)]
mod tests {
    use crate::hypervisor::SnapshotKind;
    use crate::tree::SnapshotView;

    /// Makes a snapshot to draw; `b` is the current one.
    pub fn snapshot(name: &str, parent: Option<&str>) -> SnapshotView {
        SnapshotView {
            name: name.to_string(),
            parent: parent.map(str::to_string),
            comment: String::new(),
            created: 0,
            state: "shutoff".into(),
            current: name == "b",
            kind: SnapshotKind::External,
            live: false,
            key: None,
            operations: Vec::new(),
        }
    }
}
