//! Guests that are busy with something else.

use serde_json::json;

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
fn a_command_that_fails_for_another_reason_is_not_run_again() {
    let script = "
        machine('lab', { image = image.file('i.qcow2') }):root('base'):branch('web', function(guest)
          local got = guest:run('apk add x', { retry_on = { 'lock', 'busy' }, check = false })
          print(got.status, got.stderr)
          print(pcall(guest.run, guest, 'true', { retry_on = { '' } }))
        end)";
    let ran = Test::new()
        .file("i.qcow2", DISK)
        .script(script)
        .answers(json!([{ "command": "apk add x", "status": 99, "stderr": "no network" }]))
        .args(["run", "script.lua"])
        .any_stderr()
        .stdout(
            "99\tno network\nfalse\tscript.lua:4: guest:run: `retry_on` must be a string or a list of strings, none of them \
             empty, not a table\n",
        )
        .run();
    assert_eq!(ran.executed(), ["apk add x"]);
}
