//! Copies of files with holes in them.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Because, Error, Result};

/// Copies a file: it shares blocks with its copy where the file system can do that, and keeps its holes where not.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = || format!("cannot copy `{}`", from.display());
    let mut copy = Command::new("cp");
    copy.args(["--reflink=auto", "--sparse=always", "--"]).args([from, to]);
    let output = copy.stdin(Stdio::null()).output().because(failed)?;
    if output.status.success() {
        return Ok(());
    }
    // What was copied so far is of no use.
    let _ = std::fs::remove_file(to);
    Err(Error::failed(failed()).cause(String::from_utf8_lossy(&output.stderr).trim()))
}
