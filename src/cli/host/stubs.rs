//! `snaptree stubs`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::{Because, Error, Result};
use crate::lua::stubs;
use crate::ui::Ui;

/// The mark that is in every stub file, but in no file of the user's.
const MARK: &str = "-- Written by `snaptree stubs`.";
const PROMPT: &str = "prompt.lua";

/// Write type stubs of the Lua API for editors that use LuaLS or EmmyLua
#[derive(Args)]
pub struct Stubs {
    /// The directory, to be named by `workspace.library` in `.luarc.json`
    #[arg(value_name = "DIR", default_value = ".snaptree/meta")]
    directory: PathBuf,
}

impl Stubs {
    pub fn execute(&self, ui: &Ui) -> Result<i32> {
        // An editor should report names in a script that exist only at the prompt.
        let stubs = stubs().into_iter().filter(|(path, _)| *path != PROMPT);
        let stubs: Vec<(PathBuf, &str)> = stubs.map(|(path, text)| (self.directory.join(path), text)).collect();
        for (path, _) in &stubs {
            check(path)?;
        }
        for (path, text) in &stubs {
            let cannot = || format!("cannot write `{}`", path.display());
            fs::create_dir_all(path.parent().unwrap_or(&self.directory)).because(cannot)?;
            fs::write(path, text).because(cannot)?;
        }
        ui.status(&format!("Wrote {} files into `{}`.", stubs.len(), self.directory.display()));
        Ok(0)
    }
}

/// Refuses to replace a file that `snaptree stubs` did not write.
fn check(path: &Path) -> Result<()> {
    let is_ours = |text: Vec<u8>| String::from_utf8_lossy(&text).contains(MARK);
    if !path.exists() || fs::read(path).is_ok_and(is_ours) {
        return Ok(());
    }
    Err(Error::failed(format!("`{}` was not written by `snaptree stubs`", path.display()))
        .hint("choose another directory, or move the file"))
}
