//! Waking a guest that goes on from a frozen state.

use crate::agent::calls::Calls;
use crate::agent::process::finish;
use crate::agent::transport::{Transport, TransportError};
use crate::hypervisor::Command;

/// The program itself, from `wake.c`; empty where there is none.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wake"));
/// Where it lies in the guest: in its memory, and so in nobody's disk.
const FILE: &str = "/run/snaptree-wake";
/// Syncs the disks, and puts the program there. A guest that has no room for it is woken by `date`. What the wrapper of
/// commands runs is in the guest's memory then as well, and not read from the disk by everyone who goes on.
const SETTLE: &str = r#"
sync || exit
head -c 1 </dev/null
[ -x "$0" ] || { umask 077; cat >"$0" && chmod 700 "$0" || rm -f "$0"; } 2>/dev/null
exit 0"#;
/// The wrapper of commands has the same line.
const WAKE: &str = r#"/run/snaptree-wake "$1" "$2" 2>/dev/null || date -u -s "@$1""#;

/// Returns what prepares a guest for being frozen.
pub fn settle() -> Command {
    match PROGRAM {
        [] => Command::argv(["sync"]),
        _ => Command { stdin: PROGRAM.to_vec(), ..Command::argv(["/bin/sh", "-c", SETTLE, FILE]) },
    }
}

/// Wakes the guest; says whether it could.
pub fn wake<T: Transport>(calls: &Calls<T>, seconds: u64) -> Result<bool, TransportError> {
    let arguments = ["-c", WAKE, "sh", &seconds.to_string(), &seed()];
    finish(calls, "/bin/sh", &arguments).map(|status| status.exit_code == Some(0))
}

/// Makes what a guest's random numbers begin with.
pub fn seed() -> String {
    let half = || uuid::Uuid::new_v4().simple().to_string();
    half() + &half()
}
