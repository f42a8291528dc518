//! The watch of a unit, by a shell of this host and scripted answers of `systemctl`.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const WATCH: &str = include_str!("../watch_unit.sh");
/// Answers with the first line of a file, which it removes: a state and the exit status.
const SYSTEMCTL: &str = r#"#!/bin/sh
[ "$*" = "is-active -- -odd.service" ] || exit 9
IFS=, read -r state status <states
sed -i 1d states
[ -z "$state" ] || echo "$state"
exit "$status"
"#;

/// Watches a unit of these states; returns the exit status and what is printed.
fn watched(states: &str) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let systemctl = directory.path().join("systemctl");
    std::fs::write(&systemctl, SYSTEMCTL).unwrap();
    std::fs::set_permissions(&systemctl, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::write(directory.path().join("states"), states).unwrap();
    let path = format!("{}:/usr/bin:/bin", directory.path().display());
    let mut watch = Command::new("/bin/sh");
    watch.args(["-c", WATCH, "sh", "-odd.service"]).current_dir(&directory).env("PATH", path);
    let output = watch.output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn a_unit_is_watched_until_it_is_active_or_has_failed() {
    let (ok, text) = (Some(0), str::to_string);
    assert_eq!(watched("active,0\n"), (ok, text("active\n")));
    assert_eq!(
        watched("inactive,3\nactivating,3\nactivating,3\nactive,0\n"),
        (ok, text("inactive\nactivating\nactive\n"))
    );
    assert_eq!(watched("activating,3\nfailed,3\n"), (ok, text("activating\nfailed\n")));
    // Without systemd's answer, its status tells why.
    assert_eq!(watched(",1\n"), (Some(1), text("")));
    assert_eq!(watched(",127\n"), (Some(127), text("")));
}
