//! The lines of earlier sessions, in a file. Where that cannot be read or written, the prompt works without.

use std::fs;
use std::path::{Path, PathBuf};

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Editor, Helper};

use crate::paths;
use crate::ui::Ui;

pub struct History {
    /// `None` once it is of no use.
    file: Option<PathBuf>,
}

impl History {
    /// Reads the lines of earlier sessions into the editor.
    pub fn open(file: &Path, editor: &mut Editor<impl Helper, FileHistory>, ui: &Ui) -> Self {
        let mut history = Self { file: Some(file.to_path_buf()) };
        match fs::metadata(file) {
            Ok(found) if found.is_file() => {
                // What is no history may be something else that matters, and is left alone.
                let loaded = editor.load_history(file);
                history.keep_if(loaded, "read", ui);
            }
            Ok(found) if found.is_dir() => history.give_up("read", "it is a directory", ui),
            // Whoever names a device, such as /dev/null, wants none.
            Ok(_) => history.file = None,
            Err(_) => {
                let made = file.parent().map_or(Ok(()), paths::make_private);
                history.keep_if(made.map_err(ReadlineError::from), "make", ui);
            }
        }
        history
    }

    /// Writes what was typed since the last time.
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

    /// Says once that lines are not remembered.
    fn give_up(&mut self, deed: &str, cause: &str, ui: &Ui) {
        if let Some(file) = self.file.take() {
            let cause = crate::error::said(cause);
            ui.status(&format!(
                "Cannot {deed} the history `{}`: {cause}. What you type is not remembered; SNAPTREE_HISTORY names another file.",
                file.display()
            ));
        }
    }
}
