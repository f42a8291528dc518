//! Work that is left to a process of its own, so that a command need not wait for it.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::getpid;

use crate::tree::Engine;

/// The program that runs now, even if its file was replaced.
const ITSELF: &str = "/proc/self/exe";

/// Removes a fork without being waited for: its domain and its files. Says whether that is under way.
pub fn remove(engine: &Engine, domain: &str, files: Vec<PathBuf>) -> bool {
    // When the first process of a container ends, all others are killed.
    if !engine.hypervisor.is_shared() || engine.is_simulated() || getpid().is_init() {
        return false;
    }
    let Ok(lock) = engine.store.leave_removal() else { return false };
    let owner = engine.store.owner();
    let mut command = Command::new(ITSELF);
    command.args(["--quiet", "--connect", &engine.uri(), "remove-fork", "--", &owner.0, domain]).args(files);
    let is_begun = begin(command, lock);
    if !is_begun {
        engine.store.removed(owner);
    }
    is_begun
}

/// Starts a program that has nothing of this process but a lock, which is its standard input.
fn begin(mut command: Command, lock: File) -> bool {
    command.arg0("snaptree").env_remove("SNAPTREE_TRACE");
    command.stdin(lock).stdout(Stdio::null()).stderr(Stdio::null()).spawn().is_ok()
}
