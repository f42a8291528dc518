//! The signals that were ignored when this process started: those stay ignored, as `nohup` and a shell's `&` require.

use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGCHLD, SIGPIPE, SIGXFSZ};
use signal_hook::flag;

/// Reads the signal settings, before anything changes them.
pub fn begin() -> std::io::Result<()> {
    // If our parent ignored SIGCHLD, so does this process, and the kernel then discards how its children ended.
    if is_ignored(SIGCHLD) {
        flag::register(SIGCHLD, Arc::default())?;
    }
    // A program that a script starts should end when its output is no longer read: it inherits ignored signals, but not
    // handlers. Rust has ignored SIGPIPE before this, so whether our parent did is unknown.
    flag::register(SIGPIPE, Arc::default())?;
    // A file that exceeds the user's size limit is then an error like a full disk.
    flag::register(SIGXFSZ, Arc::default())?;
    Ok(())
}

/// Returns whether a signal was ignored when this process started.
pub fn is_ignored(signal: i32) -> bool {
    static IGNORED: OnceLock<u64> = OnceLock::new();
    let read = || ignored_in(&std::fs::read_to_string("/proc/self/status").unwrap_or_default()).unwrap_or(0);
    contains(*IGNORED.get_or_init(read), signal)
}

/// Reads the mask of ignored signals in a process's `/proc/PID/status`.
fn ignored_in(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

fn contains(mask: u64, signal: i32) -> bool {
    u32::try_from(signal - 1).is_ok_and(|bit| mask.checked_shr(bit).is_some_and(|mask| mask & 1 == 1))
}

#[cfg(test)]
mod tests {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_has_a_bit_for_each() {
        let mask = ignored_in("SigBlk:\t0000000000000002\nSigIgn:\t0000000000010001\nSigCgt:\t00000000000004ff\n");
        let mask = mask.expect("a mask");
        assert!(contains(mask, SIGHUP) && contains(mask, SIGCHLD));
        assert!(!contains(mask, SIGINT) && !contains(mask, SIGTERM));
        assert!(!contains(u64::MAX, 0) && !contains(u64::MAX, 65) && contains(u64::MAX, 64));
    }

    #[test]
    fn where_no_mask_is_to_be_read_nothing_is_ignored() {
        assert_eq!(ignored_in("Name:\tx\n"), None);
        assert_eq!(ignored_in("SigIgn:\tzz\n"), None);
    }
}
