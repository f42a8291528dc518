//! Asking before something is lost.

use crate::error::{Error, Result};
use crate::ui::Ui;

/// Asks before something is lost; without a terminal only `--yes` will do.
pub fn confirm(ui: &Ui, deed: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    match ui.ask(&format!("{deed}?"))? {
        Some(true) => Ok(()),
        Some(false) => Err(Error::failed("nothing was changed")),
        None => Err(Error::usage(format!("this would {deed}")).hint("give --yes to do it without being asked")),
    }
}
