//! Small programs of ours in the guest.

use std::time::{Duration, Instant};

use crate::agent::calls::{Calls, Status};
use crate::agent::transport::{Transport, TransportError};
use crate::error::Result;

/// How long a program is left alone before the guest is asked whether it has ended.
const SMALL_PAUSE: Duration = Duration::from_millis(30);
/// How long to wait for a killed program.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Runs a small program of ours to its end.
pub fn finish<T: Transport>(calls: &Calls<T>, path: &str, args: &[&str]) -> Result<Status, TransportError> {
    let args: Vec<String> = args.iter().map(|arg| arg.to_string()).collect();
    let pid = calls.exec(path, &args, &[])?;
    wait_for(calls, pid)
}

/// Waits for the end of a program, for as long as a killed one may take.
pub fn wait_for<T: Transport>(calls: &Calls<T>, pid: i64) -> Result<Status, TransportError> {
    let started = Instant::now();
    loop {
        let is_late = started.elapsed() > KILL_PATIENCE;
        match calls.exec_status(pid) {
            Ok(status) if status.exited || is_late => return Ok(status),
            Ok(_) => {}
            Err(TransportError::NotConnected(_)) if !is_late => {}
            Err(error) => return Err(error),
        }
        std::thread::sleep(SMALL_PAUSE);
    }
}
