//! The lines of earlier sessions, in a file. If it cannot be read or written, the prompt works without it.

use std::fs;
use std::path::{Path, PathBuf};

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Editor, Helper};

use crate::paths;
use crate::ui::Ui;

pub struct History {
    /// `None` once it turned out to be unusable.
    file: Option<PathBuf>,
}

impl History {
    /// Reads the lines of earlier sessions into the editor.
    pub fn open(file: &Path, editor: &mut Editor<impl Helper, FileHistory>, ui: &Ui) -> Self {
        let mut history = Self { file: Some(file.to_path_buf()) };
        match fs::metadata(file) {
            Ok(found) if found.is_file() => {
                // A file that is not a history may be something that matters, so it is left alone.
                let loaded = editor.load_history(file);
                history.keep_if(loaded, "read", ui);
            }
            Ok(found) if found.is_dir() => history.give_up("read", "it is a directory", ui),
            // A device, such as /dev/null, means that no history is wanted.
            Ok(_) => history.file = None,
            Err(_) => {
                let made = file.parent().map_or(Ok(()), paths::make_private);
                history.keep_if(made.map_err(ReadlineError::from), "make", ui);
            }
        }
        history
    }

    /// Writes what was typed since the last save.
    pub fn save(&mut self, editor: &mut Editor<impl Helper, FileHistory>, ui: &Ui) {
        if let Some(file) = &self.file {
            let saved = editor.append_history(file);
            self.keep_if(saved, "write", ui);
        }
    }

    fn keep_if(&mut self, done: rustyline::Result<()>, deed: &str, ui: &Ui) {
        match done {
            Ok(()) => {}
            Err(ReadlineError::Io(cause)) if cause.kind() == std::io::ErrorKind::InvalidData => {
                self.give_up(deed, "it is no text", ui);
            }
            Err(cause) => self.give_up(deed, &cause.to_string(), ui),
        }
    }

    /// Warns once that lines are not saved.
    fn give_up(&mut self, deed: &str, cause: &str, ui: &Ui) {
        if let Some(file) = self.file.take() {
            let cause = crate::error::said(cause);
            ui.status(&format!(
                "Cannot {deed} the history `{}`: {cause}. What you type is not saved; set SNAPTREE_HISTORY to another file.",
                file.display()
            ));
        }
    }
}
