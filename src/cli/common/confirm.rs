//! Asks for confirmation before something is lost.

use crate::error::{Error, Result};
use crate::ui::Ui;

/// Asks for confirmation before something is lost; without a terminal, `--yes` is required.
pub fn confirm(ui: &Ui, deed: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    match ui.ask(&format!("{deed}?"))? {
        Some(true) => Ok(()),
        Some(false) => Err(Error::failed("nothing was changed")),
        None => Err(Error::usage(format!("this would {deed}")).hint("pass --yes to skip the confirmation")),
    }
}
