//! A process that outlives the one that started it.

use std::fs::File;

use crate::error::{Because, Result};
use crate::libvirt;

/// A process in a session of its own.
pub struct Detached {
    null: File,
}

/// Leaves the session and the open files of the process that started this one; the directory and the standard streams
/// stay until [`Detached::silence`].
pub fn detach() -> Result<Detached> {
    let cannot = || "cannot become a process of its own".to_string();
    let null = File::options().read(true).write(true).open("/dev/null").because(cannot)?;
    libvirt::close_inherited();
    // The leader of a group has a session of its own already, or a terminal that it was started on to be looked at.
    let _ = rustix::process::setsid();
    // Otherwise lists of processes show the name that its file was started by.
    let _ = std::fs::write("/proc/self/comm", "snaptree");
    Ok(Detached { null })
}

impl Detached {
    /// Lets go of the standard streams and the directory, which paths may be relative to until now.
    pub fn silence(&self) -> Result<()> {
        let cannot = || "cannot let go of the standard streams".to_string();
        std::env::set_current_dir("/").because(cannot)?;
        rustix::stdio::dup2_stdin(&self.null).because(cannot)?;
        rustix::stdio::dup2_stdout(&self.null).because(cannot)?;
        rustix::stdio::dup2_stderr(&self.null).because(cannot)
    }
}
