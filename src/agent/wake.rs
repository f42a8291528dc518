//! Waking a guest that goes on from a frozen state.

use crate::agent::calls::Calls;
use crate::agent::process::{finish, finish_with_input};
use crate::agent::transport::{Transport, TransportError};

/// The program itself, from `wake.c`; empty where there is none.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wake"));
const INSTALL: &str = r#"umask 077; cat >"$0" && chmod 700 "$0""#;
/// Where it lies in the guest: in its memory, and so in nobody's disk.
const FILE: &str = "/run/snaptree-wake";
/// The wrapper of commands has the same line.
const WAKE: &str = r#"/run/snaptree-wake "$1" "$2" 2>/dev/null || date -u -s "@$1""#;

/// Puts the program into the guest's memory.
pub fn install<T: Transport>(calls: &Calls<T>) -> Result<(), TransportError> {
    if PROGRAM.is_empty() {
        return Ok(());
    }
    finish_with_input(calls, "/bin/sh", &["-c", INSTALL, FILE], PROGRAM).map(drop)
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
