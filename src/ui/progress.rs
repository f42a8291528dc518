//! Progress on stderr: lines, and on a terminal a bar for each thing under way.

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::words::{one_line, seconds, shell_word};
use crate::tree::Event;

pub struct Progress {
    quiet: bool,
    verbose: bool,
    /// Whether what a script prints goes to stderr.
    is_stdout_kept: bool,
    bars: Option<MultiProgress>,
    /// The bar of each node or image under way.
    under_way: HashMap<String, ProgressBar>,
    /// Output of each node that has no line end yet.
    partial: HashMap<String, Vec<u8>>,
}

impl Progress {
    pub fn new(quiet: bool, verbose: bool, bars: bool) -> Self {
        let bars = bars.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { quiet, verbose, is_stdout_kept: false, bars, under_way: HashMap::new(), partial: HashMap::new() }
    }

    pub fn keep_stdout_for_the_result(&mut self) {
        self.is_stdout_kept = true;
    }

    /// Prints a line above the bars.
    pub fn line(&self, line: &str) {
        self.beside_bars(|| writeln!(io::stderr(), "{line}"));
    }

    /// Prints while no bar is drawn. A reader who has gone misses it, and that is all.
    fn beside_bars(&self, print: impl FnOnce() -> io::Result<()>) {
        let _ = match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        };
    }

    /// Removes the bars of what was left unfinished.
    pub fn clear(&mut self) {
        self.under_way.drain().for_each(|(_, bar)| bar.finish_and_clear());
    }

    fn status(&self, line: String) {
        if !self.quiet {
            self.line(&line);
        }
    }

    pub fn show(&mut self, event: Event) {
        match event {
            Event::Note(note) => self.status(format!("{note}.")),
            Event::Printed(line) if self.is_stdout_kept => self.status(line),
            Event::Printed(line) => self.beside_bars(|| writeln!(io::stdout(), "{line}")),
            Event::ImageStarted { image, what } => {
                self.status(format!("{image}: {what}."));
                self.begin(&image, &what);
            }
            Event::ImageProgress { image, done, total } => self.advance(&image, done, total),
            Event::ImageOutput { image, line } => self.said(&image, &line),
            Event::ImageFinished { image, took } => {
                self.end(&image);
                self.status(format!("{image}: ready after {}.", seconds(took)));
            }
            Event::ImageFailed { image } => self.end(&image),
            Event::NodeCached { node, .. } => self.status(format!("{node}: cached.")),
            Event::NodeStarted { node, reason, .. } => {
                self.status(format!("{node}: building, because {reason}."));
                self.begin(&node, "starting");
            }
            Event::GoingOn { node, operations, of } => {
                self.status(format!("{node}: building on from operation {operations} of the {of}."));
            }
            Event::BuilderReady { node, took } => {
                self.status(format!("{node}: booted in {}.", seconds(took)));
            }
            Event::OperationStarted { node, number, operation } => {
                self.begin(&node, &format!("{number}: {}", one_line(&operation)));
                if self.bars.is_none() {
                    self.status(format!("{node}: {number}: {}", one_line(&operation)));
                }
            }
            Event::Output { node, bytes, .. } => self.output(&node, &bytes),
            Event::OperationFinished { node, number, operation, took } => {
                self.flush(&node);
                if self.bars.is_some() {
                    self.status(format!("{node}: {number}: {}: {}.", one_line(&operation), seconds(took)));
                } else {
                    self.status(format!("{node}: {number}: done in {}.", seconds(took)));
                }
            }
            Event::Freezing { node } => self.begin(&node, "shutting down"),
            Event::NodeBuilt { node, took, .. } => {
                self.end(&node);
                self.status(format!("{node}: built in {}.", seconds(took)));
            }
            Event::NodeFailed { node, .. } => {
                self.flush(&node);
                self.end(&node);
                self.status(format!("{node}: failed; the tree is as it was."));
            }
            Event::FailureKept { machine, node } => {
                let path = shell_word(&format!("{machine}/{node}"));
                self.status(format!(
                    "{node}: `snaptree log {path}` shows what it did, `snaptree shell --failed {path}` looks around."
                ));
            }
        }
    }

    fn begin(&mut self, name: &str, what: &str) {
        const TICK: Duration = Duration::from_millis(100);
        let Some(bars) = &self.bars else { return };
        let bar = self.under_way.entry(name.to_string()).or_insert_with(|| {
            let bar = bars.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(name.to_string());
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

    fn output(&mut self, node: &str, bytes: &[u8]) {
        let mut pending = self.partial.remove(node).unwrap_or_default();
        pending.extend_from_slice(bytes);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            self.said(node, String::from_utf8_lossy(&line).trim_end());
        }
        self.partial.insert(node.to_string(), pending);
    }

    fn flush(&mut self, node: &str) {
        if let Some(rest) = self.partial.remove(node).filter(|rest| !rest.is_empty()) {
            self.said(node, String::from_utf8_lossy(&rest).trim_end());
        }
    }

    /// Shows a line of output: all of them when asked for, else the last one in the bar.
    fn said(&mut self, name: &str, line: &str) {
        if self.verbose {
            self.status(format!("{name} | {line}"));
        } else if let Some(bar) = self.under_way.get(name)
            && !line.trim().is_empty()
        {
            bar.set_message(line.to_string());
        }
    }
}
