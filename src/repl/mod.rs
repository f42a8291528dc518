//! The sources of lines: a user at a terminal, or a pipe. `lua` runs them.

mod editor;
mod helper;
mod history;
mod piped;

use std::path::Path;
use std::thread::JoinHandle;

use crate::error::{Error, Result};
use crate::lua::{Asker, Asks, conversation};
use crate::ui::Ui;

/// Starts to read typed lines; they are saved in the file `history`.
pub fn open(ui: &Ui, history: &Path) -> Asks {
    let (asker, asks) = conversation();
    let (ui, history) = (ui.clone(), history.to_path_buf());
    start(move || {
        if let Err(error) = editor::type_lines(&asker, &ui, &history) {
            ui.error(&error);
        }
    });
    asks
}

/// Starts to read lines from the standard input until one fails.
pub fn read(ui: &Ui) -> (Asks, Lines) {
    let ui = ui.clone();
    lines(move |asker| piped::read_lines(asker, &ui))
}

/// Starts to run one line and print its result.
pub fn evaluate(ui: &Ui, line: &str) -> (Asks, Lines) {
    let (ui, line) = (ui.clone(), line.to_string());
    lines(move |asker| piped::carry_out(asker, &ui, &line).map(|_| ()))
}

/// Lines that are being read.
pub struct Lines(JoinHandle<Result<()>>);

impl Lines {
    /// Waits until the last one has run, or one has failed.
    pub fn end(self) -> Result<()> {
        self.0.join().unwrap_or_else(|_| Err(Error::bug("the reader of lines broke")))
    }
}

fn lines(read: impl FnOnce(&Asker) -> Result<()> + Send + 'static) -> (Asks, Lines) {
    let (asker, asks) = conversation();
    (asks, Lines(start(move || read(&asker))))
}

fn start<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    std::thread::spawn(read)
}
