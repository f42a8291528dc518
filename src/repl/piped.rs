//! Lines that nobody types: no prompt, and the first failure ends them.

use std::io::BufRead;

use crate::error::{Because, Result};
use crate::lua::{Asker, is_whole};
use crate::ui::Ui;

/// Carries out what comes through the standard input, as soon as it is whole.
pub fn read_lines(asker: &Asker, ui: &Ui) -> Result<()> {
    let mut pending = String::new();
    for line in std::io::stdin().lock().lines() {
        let line = line.because(|| "cannot read the standard input".to_string())?;
        let is_first = pending.is_empty();
        pending.push_str(&line);
        if is_first && line.trim().is_empty() || line.starts_with("#!") {
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

/// Carries out a line and prints what came of it; says whether it was the last one.
pub fn carry_out(asker: &Asker, ui: &Ui, line: &str) -> Result<bool> {
    let answer = asker.line(line)?;
    answer.text.map_or(Ok(()), |text| ui.text(&text))?;
    Ok(answer.leaves)
}
