//! `snaptree edit`.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use clap::Args;
use tempfile::NamedTempFile;

use crate::cli::common::session::Session;
use crate::cli::common::which::Which;
use crate::error::{Because, Error, Result};
use crate::name::SnapshotPath;
use crate::tree;
use crate::ui::Ui;

/// Change a snapshot's comment, or its XML in an editor
///
/// The editor is $VISUAL, $EDITOR or vi. If libvirt refuses the XML, it is kept in a file.
#[derive(Args)]
pub struct Edit {
    /// Set this comment, without an editor
    #[arg(long, visible_alias = "description", value_name = "TEXT", allow_hyphen_values = true)]
    comment: Option<String>,
    #[command(flatten)]
    which: Which,
}

impl Edit {
    pub fn execute(&self, session: Session, ui: &Ui) -> Result<i32> {
        let path = self.which.snapshot(&session.engine)?;
        let said = match &self.comment {
            Some(comment) => set_comment(&session, &path, comment)?,
            None => edit(&session, &path)?,
        };
        ui.status(&said);
        Ok(0)
    }
}

fn changed(path: &SnapshotPath) -> String {
    format!("Changed snapshot `{}` of `{}`.", path.snapshot, path.machine)
}

fn unchanged(path: &SnapshotPath) -> String {
    format!("Snapshot `{}` of `{}` is unchanged.", path.snapshot, path.machine)
}

fn set_comment(session: &Session, path: &SnapshotPath, comment: &str) -> Result<String> {
    if tree::snapshot_info(&session.engine, path)?.snapshot.comment == comment {
        return Ok(unchanged(path));
    }
    tree::set_comment(&session.engine, path, comment)?;
    Ok(changed(path))
}

/// Lets the user edit a snapshot's XML; returns the result as a message.
fn edit(session: &Session, path: &SnapshotPath) -> Result<String> {
    let before = tree::snapshot_xml(&session.engine, path)?;
    let file = in_file(&before).because(|| "cannot write a file to edit".to_string())?;
    run_editor(file.path())?;
    let after = fs::read_to_string(file.path()).because(|| "cannot read the edited file".to_string())?;
    if after == before {
        return Ok(unchanged(path));
    }
    // The engine keeps the current snapshot current.
    match tree::redefine_snapshot(&session.engine, &path.machine, &after, false) {
        Ok(name) if name == path.snapshot => Ok(changed(path)),
        Ok(name) => {
            Ok(format!("Added snapshot `{name}` to the tree of `{}`; `{}` is unchanged.", path.machine, path.snapshot))
        }
        Err(error) => Err(keep(file, error)),
    }
}

fn in_file(text: &str) -> std::io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().prefix("snaptree-").suffix(".xml").tempfile()?;
    file.write_all(text.as_bytes())?;
    file.flush()?;
    Ok(file)
}

/// Runs the editor, whose variable may contain arguments, and waits until it ends.
fn run_editor(file: &Path) -> Result<()> {
    let chosen = ["VISUAL", "EDITOR"].iter().filter_map(|name| env::var(name).ok());
    let editor = chosen.into_iter().find(|editor| !editor.trim().is_empty()).unwrap_or_else(|| "vi".to_string());
    let ended = Command::new("sh").args(["-c", &format!("{editor} \"$1\""), "sh"]).arg(file).status();
    let ended = ended.because(|| format!("cannot start the editor `{editor}`"))?;
    if ended.success() {
        return Ok(());
    }
    Err(Error::failed(format!("the editor `{editor}` failed; nothing was changed"))
        .cause(ended)
        .hint("$VISUAL or $EDITOR says which editor to use; --comment needs none"))
}

/// Keeps the edited XML in a file, and adds its path to the error.
fn keep(file: NamedTempFile, mut error: Error) -> Error {
    let Ok((_, path)) = file.keep() else { return error };
    let kept = format!("your edits are kept in `{}`", path.display());
    error.hint = Some(match error.hint.take() {
        Some(hint) => format!("{hint}; {kept}"),
        None => kept,
    });
    error
}
