//! Lines from a pipe: no prompt is shown, and the first failure ends them.

use std::io::{BufRead, ErrorKind};

use crate::error::{Error, Result};
use crate::lua::{Asker, UTF8_MARK, is_whole};
use crate::ui::Ui;

/// Runs lines of standard input, each as soon as it is complete.
pub fn read_lines(asker: &Asker, ui: &Ui) -> Result<()> {
    let mut pending = String::new();
    for (n, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line.map_err(|cause| cannot_read(n, &cause))?;
        let line = if n == 0 { line.trim_start_matches(UTF8_MARK) } else { &line };
        let is_first = pending.is_empty();
        pending.push_str(line);
        // A first line with `#!` is not Lua.
        if is_first && line.trim().is_empty() || n == 0 && line.starts_with("#!") {
            pending.clear();
        } else if is_whole(&pending) {
            if carry_out(asker, ui, &std::mem::take(&mut pending))? {
                return Ok(());
            }
        } else {
            pending.push('\n');
        }
    }
    if pending.trim().is_empty() { Ok(()) } else { carry_out(asker, ui, &pending).map(|_| ()) }
}

fn cannot_read(lines: usize, cause: &std::io::Error) -> Error {
    match cause.kind() {
        ErrorKind::InvalidData => Error::failed(format!("line {} of the standard input is not UTF-8", lines + 1))
            .hint("write bytes in strings as \"\\xNN\", or load a file with .load"),
        _ => Error::failed("cannot read the standard input").cause(cause),
    }
}

/// Runs a line and prints its result; returns whether it was the last one.
pub fn carry_out(asker: &Asker, ui: &Ui, line: &str) -> Result<bool> {
    let answer = asker.line(line)?;
    answer.text.map_or(Ok(()), |text| ui.text(&text))?;
    Ok(answer.leaves)
}
