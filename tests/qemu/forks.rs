//! Forks of real guests: how they end, and what their guests find when they go on.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::Command;

use super::lab::{Lab, REMOVAL};

/// Builds a live snapshot `one`.
const LIVE: &str = r#"
    local one = machine(MACHINE, { image = tiny {}, memory = "128MiB" }):root("base"):branch("one", function(guest)
      guest:run "true"
    end)
"#;

#[test]
#[ignore = "needs QEMU"]
fn a_throw_away_fork_is_removed_although_no_command_waits_for_it() {
    let lab = Lab::new("removal");
    lab.script(LIVE).any_stderr().run();
    // Layers, RAM and what else domains have.
    let endings = ["qcow2", "ram", "devices", "nvram", "lock", "removal"];
    let is_meant = |file: &PathBuf| file.extension().is_some_and(|ending| endings.iter().any(|it| ending == *it));
    let files = || lab.files().into_iter().filter(is_meant).collect::<Vec<_>>();
    let before = files();
    // A pipe ends with the command, also one that it has besides its output.
    let ran = lab.exec("one", &["echo", "out"]).in_shell("{ \"$@\" 3>&1 | cat; } 3>&1 | cat");
    ran.stdout("out\n").any_stderr().run();
    let is_removed = || lab.processes_now().iter().all(|(_, line)| !line.contains(REMOVAL));
    let is_left = !is_removed();
    // What lists or changes waits for it.
    let forks = lab.snaptree(&["forks", &lab.machine]).stdout("no forks\n").run();
    assert!(is_left && is_removed(), "it was not removed by a process of its own: {}", forks.stderr);
    lab.assert_no_clone_is_left();
    assert_eq!(files(), before);

    let path = format!("{}/one", lab.machine);
    lab.exec("one", &["sh", "-c", "exit 3"]).status(3).any_stderr().run();
    lab.snaptree(&["delete", &path, "--yes"]).any_stdout().any_stderr().run();
    lab.snaptree(&["undo", &lab.machine, "--yes"]).any_stdout().any_stderr().run();
    lab.assert_no_clone_is_left();

    // Its process may be killed, as some runners of jobs do: the next command removes what is left.
    let killed = (0..10).any(|_| {
        lab.exec("one", &["true"]).any_stderr().run();
        let removal = lab.processes_now().into_iter().find(|(_, line)| line.contains(REMOVAL));
        let is_killed = |process: u32| Command::new("kill").args(["-KILL", &process.to_string()]).status().unwrap();
        removal.is_some_and(|(process, _)| is_killed(process).success()) && lab.domains().len() == 2
    });
    assert!(killed, "no removal lasted long enough to be killed");
    let left = lab.domains().into_iter().find(|name| name.contains(".fork-")).unwrap();
    let swept = lab.snaptree(&["-v", "exec", &path, "--", "true"]).any_stderr().run();
    let note = format!("removed `{left}`, left by a run that was killed");
    assert!(swept.stderr.contains(&note), "{}", swept.stderr);
    lab.assert_no_clone_is_left();
    assert_eq!(files(), before);
}
