//! Progress on stderr: lines, and on a terminal a bar for each running build.

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::by_hand::ByHand;
use super::outlets::Outlets;
use super::words::{one_line, seconds, tame};
use crate::hypervisor::Stream;
use crate::shell;
use crate::tree::{EarlierTry, Event, Subject};

pub struct Progress {
    quiet: bool,
    verbose: bool,
    /// Whether what a script prints goes to stderr.
    is_stdout_kept: bool,
    bars: Option<MultiProgress>,
    outlets: Outlets,
    /// The machines that the script has declared or used.
    machines: Vec<String>,
    /// Whether any line about a node was printed.
    has_told: bool,
    /// Whether a warning about a random operation was printed.
    has_warned: bool,
    /// The bar of each node or image that is being built, by its full name.
    under_way: HashMap<String, ProgressBar>,
    /// Each guest's output that has no line end yet.
    partial: HashMap<String, Vec<u8>>,
    /// Output that is shown as it comes.
    stream: ByHand,
    /// Prints above the line that the user is typing, if any.
    above: Option<Above>,
}

/// Prints whole lines.
pub type Above = Box<dyn FnMut(String) + Send>;

impl Progress {
    pub fn new(quiet: bool, verbose: bool, bars: bool, outlets: Outlets) -> Self {
        let bars = bars.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        // A terminal that cannot move its cursor gets only lines.
        let bars = bars.filter(|bars| !bars.is_hidden());
        Self {
            quiet,
            verbose,
            is_stdout_kept: false,
            bars,
            outlets,
            machines: Vec::new(),
            has_told: false,
            has_warned: false,
            under_way: HashMap::new(),
            partial: HashMap::new(),
            stream: ByHand::default(),
            above: None,
        }
    }

    pub fn keep_stdout_for_the_result(&mut self) {
        self.is_stdout_kept = true;
    }

    /// Prints a line above the bars.
    pub fn line(&mut self, line: &str) {
        self.beside_bars(Stream::Stderr, line);
    }

    /// Prints a line while the bars are hidden.
    fn beside_bars(&mut self, stream: Stream, line: &str) {
        self.stream.end_line();
        let print = || match stream {
            Stream::Stdout => writeln!(io::stdout(), "{line}"),
            Stream::Stderr => writeln!(io::stderr(), "{line}"),
        };
        let printed = match (&mut self.above, &self.bars) {
            (Some(above), _) => {
                above(format!("{line}\n"));
                Ok(())
            }
            (None, Some(bars)) => bars.suspend(print),
            (None, None) => print(),
        };
        self.outlets.note(stream, &printed);
    }

    /// The user begins to type: lines are printed with `above`, and no bars are drawn.
    pub fn begin_typing(&mut self, above: Above) {
        self.stream.end_line();
        self.above = Some(above);
        self.draw_bars(ProgressDrawTarget::hidden());
    }

    pub fn end_typing(&mut self) {
        self.above = None;
        self.draw_bars(ProgressDrawTarget::stderr());
    }

    fn draw_bars(&self, target: ProgressDrawTarget) {
        if let Some(bars) = &self.bars {
            bars.set_draw_target(target);
        }
    }

    /// Removes the bars of unfinished builds.
    pub fn clear(&mut self) {
        self.under_way.drain().for_each(|(_, bar)| bar.finish_and_clear());
    }

    fn status(&mut self, line: String) {
        if !self.quiet {
            self.line(&line);
        }
    }

    pub fn show(&mut self, event: Event) {
        match event {
            Event::Note(note) => self.status(format!("{note}.")),
            Event::Printed(line) if self.is_stdout_kept => self.status(line),
            Event::OutputLost(why) => {
                self.outlets.note(Stream::Stdout, &Err(std::io::Error::from_raw_os_error(why)));
            }
            Event::Printed(line) => self.beside_bars(Stream::Stdout, &line),
            Event::Heard { stream, bytes } => {
                let shown = self.stream.show(stream, &bytes);
                self.outlets.note(stream, &shown);
            }
            Event::ImageStarted { image, what } => {
                self.status(format!("{image}: {what}."));
                self.begin(&image, &image, &what);
            }
            Event::ImageProgress { image, done, total } => self.advance(&image, done, total),
            Event::ImageOutput { image, line } => self.said(&image, &image, &line),
            Event::ImageFinished { image, took } => {
                self.end(&image);
                self.status(format!("{image}: ready after {}.", seconds(took)));
            }
            Event::ImageFailed { image } => self.end(&image),
            Event::MachineDeclared { machine } => self.meet(&machine),
            Event::NodeCached { subject } => self.tell(&subject, "cached."),
            Event::ByChance { subject, number, operation } => self.warn_of_chance(&subject, number, &operation),
            Event::NodeStarted { subject, reason } => {
                self.tell(&subject, &format!("building, because {reason}."));
                self.begin_step(&subject, "starting");
            }
            Event::Resuming { subject, operations, of } => {
                let of = earlier_try(of);
                self.tell(&subject, &format!("resuming from operation {operations} of the {of}."));
            }
            Event::BuilderReady { subject, is_resumed, took } => {
                let how = if is_resumed { "resumed" } else { "booted" };
                self.tell(&subject, &format!("{how} in {}.", seconds(took)));
            }
            Event::OperationStarted { subject, number, operation } => {
                self.begin_operation(&subject, number, &operation)
            }
            Event::Output { subject, bytes, .. } => self.output(&subject, &bytes),
            Event::OperationFinished { subject, number, operation, took } => {
                let said = if self.has_bar(&subject) { "" } else { "done in " };
                self.end_operation(&subject, number, &operation, &format!("{said}{}", seconds(took)));
            }
            Event::OperationFailed { subject, number, operation, took } => {
                self.end_operation(&subject, number, &operation, &format!("failed after {}", seconds(took)));
            }
            Event::Freezing { subject } => self.begin_step(&subject, "shutting down"),
            Event::NodeBuilt { subject, took } => {
                self.end(&subject.to_string());
                self.tell(&subject, &format!("built in {}.", seconds(took)));
            }
            Event::NodeFailed { subject } => {
                self.end(&subject.to_string());
                self.tell(&subject, "failed; the tree is unchanged.");
            }
            Event::FailureKept { subject } => self.tell_of_failure(&subject),
        }
    }

    /// Warns of an operation that seems to contain a random value; the first time, with a hint.
    fn warn_of_chance(&mut self, subject: &Subject, number: usize, operation: &str) {
        let label = self.label(subject);
        let operation = one_line(operation);
        self.status(format!(
            "warning: operation {number} of {label}: {operation} differs from the last run in what looks like \
             a time stamp or a random value: `{label}` would be rebuilt every time"
        ));
        if !std::mem::replace(&mut self.has_warned, true) {
            self.status(
                "hint: what the guest makes itself, such as $(date) in a command, is the same operation in \
                 every run; so is what comes from `param`"
                    .to_string(),
            );
        }
    }

    /// Shows a starting operation, in its bar if there is one.
    fn begin_operation(&mut self, subject: &Subject, number: usize, operation: &str) {
        let what = format!("{number}: {}", one_line(operation));
        self.begin_step(subject, &what);
        if !self.has_bar(subject) {
            self.tell(subject, &what);
        }
    }

    /// Says how to inspect a failed branch.
    fn tell_of_failure(&mut self, subject: &Subject) {
        let path = shell::last(subject);
        self.tell(
            subject,
            &format!("`snaptree log {path}` shows what it did, `snaptree shell --failed {path}` looks around."),
        );
    }

    /// Adds a machine. From the second one on, lines use the full names of nodes.
    fn meet(&mut self, machine: &str) {
        if self.machines.iter().any(|known| known == machine) {
            return;
        }
        if let ([first], true) = (&self.machines[..], self.has_told) {
            self.status(format!("The nodes above are those of `{first}`."));
        }
        self.machines.push(machine.to_string());
        if self.machines.len() > 1 {
            self.under_way.iter().for_each(|(name, bar)| bar.set_prefix(name.clone()));
        }
    }

    /// Prints a line about a node, or about a machine itself.
    fn tell(&mut self, subject: &Subject, what: &str) {
        let label = self.label(subject);
        self.has_told = true;
        self.status(format!("{label}: {what}"));
    }

    fn label(&mut self, subject: &Subject) -> String {
        self.meet(&subject.machine);
        match &subject.node {
            Some(node) if self.machines.len() == 1 => node.clone(),
            _ => subject.to_string(),
        }
    }

    /// Says whether a bar shows the work. A machine's own guest has none, since no event says when its work ends.
    fn has_bar(&self, subject: &Subject) -> bool {
        self.bars.is_some() && subject.node.is_some()
    }

    fn begin_step(&mut self, subject: &Subject, what: &str) {
        if self.has_bar(subject) {
            let label = self.label(subject);
            self.begin(&subject.to_string(), &label, what);
        }
    }

    fn end_operation(&mut self, subject: &Subject, number: usize, operation: &str, how: &str) {
        self.flush(subject);
        // Without a bar, the operation was printed when it began.
        let what = if self.has_bar(subject) { format!("{}: ", one_line(operation)) } else { String::new() };
        self.tell(subject, &format!("{number}: {what}{how}."));
    }

    fn begin(&mut self, name: &str, label: &str, what: &str) {
        const TICK: Duration = Duration::from_millis(100);
        let Some(bars) = &self.bars else { return };
        let bar = self.under_way.entry(name.to_string()).or_insert_with(|| {
            let bar = bars.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(label.to_string());
            bar.enable_steady_tick(TICK);
            bar
        });
        bar.set_message(what.to_string());
    }

    fn end(&mut self, name: &str) {
        if let Some(bar) = self.under_way.remove(name) {
            bar.finish_and_clear();
        }
    }

    fn advance(&mut self, name: &str, done: u64, total: Option<u64>) {
        let Some(bar) = self.under_way.get(name) else { return };
        let Some(total) = total else { return bar.set_message(bytesize::ByteSize(done).to_string()) };
        if bar.length() != Some(total) {
            bar.set_length(total);
            let template = "{spinner} {prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
        }
        bar.set_position(done);
    }

    fn output(&mut self, subject: &Subject, bytes: &[u8]) {
        let mut pending = self.partial.remove(&subject.to_string()).unwrap_or_default();
        pending.extend_from_slice(bytes);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            self.heard(subject, &line);
        }
        self.partial.insert(subject.to_string(), pending);
    }

    fn flush(&mut self, subject: &Subject) {
        if let Some(rest) = self.partial.remove(&subject.to_string()).filter(|rest| !rest.is_empty()) {
            self.heard(subject, &rest);
        }
    }

    /// Shows a line of a guest's output; if it was overwritten several times, its last state.
    fn heard(&mut self, subject: &Subject, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        let label = self.label(subject);
        self.said(&subject.to_string(), &label, line.rsplit('\r').next().unwrap_or(line));
    }

    /// Shows a line of output: printed in verbose mode, otherwise in the bar.
    fn said(&mut self, name: &str, label: &str, line: &str) {
        // A guest's output must not control the terminal.
        let line = tame(line);
        if self.verbose {
            self.status(format!("{label} | {line}"));
        } else if let Some(bar) = self.under_way.get(name)
            && !line.trim().is_empty()
        {
            bar.set_message(line);
        }
    }
}

fn earlier_try(of: EarlierTry) -> &'static str {
    match of {
        EarlierTry::Failed => "failed try",
        EarlierTry::Built => "last build",
    }
}
