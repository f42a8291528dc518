//! Our program in the guest: getting it there, and waking guests in which it does not wait.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::agent::calls::Calls;
use crate::agent::program::finish;
use crate::agent::transport::{Transport, TransportError};
use crate::channel::{PORT, PROGRAM};
use crate::error::Result;
use crate::hypervisor::{Command, Connections};

const INSTALL: &str = include_str!("program.sh");
/// Programs of older snaptrees wake in the same way, but do not know of connections.
const WAKE: &str = r#"[ "$3" ] && /run/snaptree-channel "$1" "$2" "$3" 2>/dev/null ||
/run/snaptree-channel "$1" "$2" 2>/dev/null || /run/snaptree-waker "$1" "$2" 2>/dev/null ||
date -u -s "@$1""#;

/// Returns the command that puts the program into a guest and lets it wait at its port; in the place of another one, if
/// `replaces`. `None` if there is no program for such guests.
pub fn install(replaces: bool) -> Option<Command> {
    let replace = if replaces { "replace" } else { "" };
    let install = || Command::argv(["/bin/sh", "-c", INSTALL, "sh", PORT, replace]);
    (!PROGRAM.is_empty()).then(|| Command { stdin: PROGRAM.to_vec(), ..install() })
}

/// Wakes a guest in which no program waits at the port; says whether that worked.
pub fn wake_by_agent<T: Transport>(calls: &Calls<T>, connections: Connections) -> Result<bool, TransportError> {
    let reset = if connections == Connections::Reset { "reset" } else { "" };
    let arguments = ["-c", WAKE, "sh", &time().as_secs().to_string(), &seed(), reset];
    finish(calls, "/bin/sh", &arguments).map(|status| status.exit_code == Some(0))
}

/// Returns the time since the epoch.
pub fn time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Makes a seed for a guest's random numbers.
pub fn seed() -> String {
    let half = || uuid::Uuid::new_v4().simple().to_string();
    half() + &half()
}
