//! A line editor on the terminal.

use std::path::Path;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor, ExternalPrinter};

use super::helper::LuaHelper;
use super::history::History;
use crate::error::{Because, Error, Kind, Result};
use crate::lua::Asker;
use crate::ui::Ui;

const HISTORY: usize = 10_000;

/// Reads lines, has them run, and prints their results, until the user leaves.
pub fn type_lines(asker: &Asker, ui: &Ui, history: &Path) -> Result<()> {
    let cannot = || "cannot set the terminal up".to_string();
    let config = Config::builder().completion_type(CompletionType::List).max_history_size(HISTORY);
    let config = config.because(cannot)?.build();
    let mut editor = Editor::<LuaHelper, FileHistory>::with_config(config).because(cannot)?;
    editor.set_helper(Some(LuaHelper::new(asker.clone(), ui.has_colours())));
    let mut history = History::open(history, &mut editor, ui);
    let mut interrupts = 0;
    while let Some(place) = asker.place() {
        let prompt = format!("{place}> ");
        match read_line(&mut editor, ui, &prompt)? {
            Read::Line(line) => {
                interrupts = 0;
                if line.trim().is_empty() {
                    continue;
                }
                let _ = editor.add_history_entry(&line);
                // At once, because a session can end in many ways.
                history.save(&mut editor, ui);
                if carry_out(asker, ui, &line)? {
                    return Ok(());
                }
            }
            Read::Interrupt => {
                interrupts += 1;
                if interrupts == 2 {
                    ui.status("Ctrl-D or .quit leaves.");
                }
            }
            Read::End => return Ok(()),
        }
    }
    Ok(())
}

enum Read {
    Line(String),
    Interrupt,
    End,
}

fn read_line(editor: &mut Editor<LuaHelper, FileHistory>, ui: &Ui, prompt: &str) -> Result<Read> {
    // Messages go above the line meanwhile, unless the terminal cannot move its cursor.
    let printer = editor.create_external_printer().ok();
    let typing = printer.map(|mut printer| ui.begin_typing(move |text| drop(printer.print(text))));
    let read = editor.readline(prompt);
    drop(typing);
    match read {
        Ok(line) => Ok(Read::Line(line)),
        Err(ReadlineError::Interrupted) => Ok(Read::Interrupt),
        Err(ReadlineError::Eof) => Ok(Read::End),
        Err(cause) => Err(Error::failed("cannot read from the terminal").cause(cause)),
    }
}

/// Runs a line and prints its error, if it fails; returns whether it was the last one.
fn carry_out(asker: &Asker, ui: &Ui, line: &str) -> Result<bool> {
    match asker.line(line) {
        Ok(answer) => {
            answer.text.map_or(Ok(()), |text| ui.text(&text))?;
            Ok(answer.leaves)
        }
        Err(error) => {
            ui.error(&error);
            Ok(error.kind == Kind::Interrupted && asker.place().is_none())
        }
    }
}
