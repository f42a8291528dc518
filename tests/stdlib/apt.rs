//! `require "apt"`.

use serde_json::json;

use super::{in_guest, refuses};
use crate::support::{DISK, Test};

const INSTALL: &str = "
    local apt = require 'apt'
    machine('lab', { image = image.file('i.qcow2') }):root('base'):branch('web', function(guest)
      apt.install(guest, 'nginx', { timeout = '2s' })
    end)";
const HELD: &str = "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 312 (unattended-upgr)";

fn install(times: Option<usize>) -> Test {
    let refusal = format!("{HELD}\nN: Be aware that removing the lock file is not a solution.\n");
    Test::new()
        .file("i.qcow2", DISK)
        .script(INSTALL)
        .answers(json!([{ "command": "apt-get install *", "status": 100, "stderr": refusal, "times": times }]))
        .args(["run", "script.lua"])
}

#[test]
fn a_package_manager_that_holds_its_lock_is_waited_for() {
    let ran = install(Some(1)).any_stderr().run();
    let waits = format!("`lab/web` waits and tries again: {HELD}.\n");
    assert_eq!(ran.stderr.matches(&waits).count(), 1, "{}", ran.stderr);
    assert_eq!(ran.executed().iter().filter(|line| line.starts_with("apt-get install")).count(), 2);
    // How often it was tried is not part of the branch's key.
    let again = ran.again().args(["run", "script.lua"]).any_stderr().run();
    assert_eq!(again.executed(), ran.executed());
}

#[test]
fn a_lock_that_is_never_let_go_is_named_at_the_time_limit() {
    let ran = install(None).status(124).any_stderr().run();
    let error = ran.stderr.split_once("error: ").map(|(_, error)| error).unwrap_or_default();
    let expected = format!(
        "script.lua:3: run {{\"apt-get\", \"install\", \"-y\", \"-q\", \"--no-install-recommends\", \"-o\", \
         \"Dpkg::Options::=--force-unsafe-io\", \"-o\", \"Dpkg::Use-Pty=0\", \"--\", \"nginx\"}} DEBIAN_FRONTEND=\"noninteractive\" \
         LC_ALL=\"C.UTF-8\" timed out after 2s in `web`: {HELD}\n  | {HELD}\n"
    );
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn install_fetches_the_lists_once_and_installs_what_is_named() {
    let listed = "ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1";
    let ran = in_guest(
        "local apt = require 'apt'
         apt.install(guest, 'nginx')
         apt.install(guest, { 'curl=7.88', 'vim' }, { recommends = true, timeout = '1m' })",
        json!([{ "command": listed, "status": 2, "times": 1 }]),
    );
    let install = |rest: &str| format!("apt-get install -y -q {rest}");
    let dpkg = "-o Dpkg::Options::=--force-unsafe-io -o Dpkg::Use-Pty=0 --";
    let expected = [
        listed.to_string(),
        "apt-get update -q -o APT::Update::Error-Mode=any".to_string(),
        install(&format!("--no-install-recommends {dpkg} nginx")),
        listed.to_string(),
        install(&format!("{dpkg} curl=7.88 vim")),
    ];
    assert_eq!(ran.executed(), expected);
}

#[test]
fn candidate_is_the_version_that_would_be_installed() {
    let policy = |version: &str| format!("mariadb-server:\n  Installed: (none)\n  Candidate: {version}\n");
    let ran = in_guest(
        "local apt = require 'apt'
         print(apt.candidate(guest, 'mariadb-server'), apt.candidate(guest, 'none'), apt.candidate(guest, 'unknown'))",
        json!([
            { "command": "apt-cache policy mariadb-server", "stdout": policy("1:10.11.6-0+deb12u1") },
            { "command": "apt-cache policy none", "stdout": policy("(none)") },
        ]),
    );
    assert_eq!(ran.stdout, "1:10.11.6-0+deb12u1\tnil\tnil\n");
}

#[test]
fn what_is_no_package_or_no_option_is_refused() {
    refuses("require('apt').install(guest, {})", "apt.install: the packages must be a name or a list of names");
    refuses("require('apt').install(guest, { 'vim', 7 })", "apt.install: package 2 is not a name but 7");
    refuses("require('apt').update(guest, { timout = '1m' })", "apt.update: unknown option `timout`");
}
