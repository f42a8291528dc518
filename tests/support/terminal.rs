//! The binary in a terminal of its own.

use std::time::{Duration, Instant};

use rexpect::session::{PtySession, spawn_command};
use rustix::termios::{Winsize, tcsetwinsize};

use super::Test;

const LIMIT: Duration = Duration::from_secs(60);

/// Runs a line of bash in a terminal of 24 rows and 80 columns, where `$SNAPTREE` is the binary as `test` would run it.
pub fn open(test: &Test, line: &str) -> PtySession {
    open_within(test, line, LIMIT)
}

/// The same, where each thing that is waited for may take as long as `limit`.
pub fn open_within(test: &Test, line: &str, limit: Duration) -> PtySession {
    let command = test.command();
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let line = format!("stty rows 24 cols 80; set -m; {line}");
    let mut bash = std::process::Command::new("bash");
    bash.args(["--norc", "-c", &line]).env_clear();
    bash.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    bash.env("SNAPTREE", words.join(" "));
    if let Some(directory) = command.get_current_dir() {
        bash.current_dir(directory);
    }
    spawn_command(bash, u64::try_from(limit.as_millis()).ok()).expect("cannot open a terminal")
}

#[track_caller]
pub fn type_in(session: &mut PtySession, keys: &str) {
    session.send(keys).and_then(|_| session.flush()).expect("cannot type");
}

pub fn resize(session: &PtySession, rows: u16, columns: u16) {
    let master = session.process().get_file_handle().expect("the terminal's other end");
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).expect("cannot resize the terminal");
}

#[track_caller]
pub fn wait_until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never became what the test waits for");
        std::thread::sleep(Duration::from_millis(20));
    }
}
