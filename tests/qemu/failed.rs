//! What is left of a step that failed, on real guests.

use std::time::Duration;

use super::lab::Lab;
use crate::support::terminal;

#[test]
#[ignore = "needs QEMU"]
fn what_is_left_of_a_failed_step_can_be_shown_and_entered() {
    let lab = Lab::new("evidence");
    let script = r#"
        local base = machine(MACHINE, { image = tiny {}, memory = "256MiB" }):root("base")
        base:branch("child", function(guest)
          guest:write("/root/conf", "port=1\n")
          guest:run "echo half > /root/half; echo to stdout; echo to stderr >&2; exit 7"
        end)
    "#;
    lab.script(script).status(1).any_stderr().run();
    lab.assert_no_clone_is_left();
    assert_eq!(lab.virsh_tree(), "base\n");
    let path = format!("{}/child", lab.machine);
    let log = lab.snaptree(&["log", &path]).any_stdout().run().stdout;
    let end = "[TIME], failed\n    status 7\n    | to stdout\n    ! to stderr\n";
    assert!(log.starts_with("failed at ") && log.ends_with(end), "{log}");

    // What the step wrote last is there, and what is done to it now is thrown away.
    let look = |command: &[&str]| lab.snaptree(&[&["exec", "--failed", &path, "--"], command].concat());
    look(&["sh", "-c", "cat /root/conf /root/half; echo more > /root/half"]).stdout("port=1\nhalf\n").run();
    look(&["cat", "/root/half"]).stdout("half\n").run();
    let line = format!("$SNAPTREE shell --failed {path}; echo status $?");
    let mut shell = terminal::open_within(&lab.snaptree(&[]), &line, Duration::from_secs(300));
    shell.exp_string(&format!("Connected to {path} (failed). The leave key is Ctrl-].\r\n")).unwrap();
    shell.exp_string("tiny:~# ").unwrap();
    terminal::type_in(&mut shell, "cat /root/half\r");
    shell.exp_string("\nhalf\r\n").unwrap();
    terminal::type_in(&mut shell, "\u{1d}");
    shell.exp_string(&format!("Left {path} (failed).\r\nstatus 0\r\n")).unwrap();
    lab.assert_no_clone_is_left();

    lab.script(&script.replace("exit 7", "exit 0")).any_stderr().run();
    assert_eq!(lab.virsh_tree(), "base\n  |\n  +- child\n");
    let gone = lab.snaptree(&["log", "--failed", &path]).status(1).any_stderr().run();
    assert!(gone.stderr.starts_with("error: there is no failed `child` in "), "{}", gone.stderr);
    let is_layer = |file: &str| file.contains("/child-") && file.ends_with(".qcow2");
    let layers = lab.files().into_iter().filter(|file| is_layer(&file.to_string_lossy()));
    assert_eq!(layers.count(), 1, "{:?}", lab.files());
}

#[test]
#[ignore = "needs QEMU"]
fn after_a_fix_the_guest_resumes_from_the_last_checkpoint() {
    let lab = Lab::new("resume");
    let script = r#"
        local base = machine(MACHINE, { image = tiny {}, memory = "256MiB" }):root("base")
        base:branch("child", function(guest)
          guest:run "echo one >> /root/done"
          guest:run "echo two >> /root/done"
          guest:run "echo three >> /root/done; exit 7"
          guest:run "echo four >> /root/done"
        end)
    "#;
    let run = |script: &str| lab.script(script).env("SNAPTREE_CHECKPOINT_AFTER", "0s").any_stderr();
    let failed = run(script).status(1).run();
    assert!(!failed.stderr.contains("gets no checkpoints"), "{}", failed.stderr);
    lab.assert_no_clone_is_left();
    let path = format!("{}/child", lab.machine);
    lab.snaptree(&["exec", "--failed", &path, "--", "cat", "/root/done"]).stdout("one\ntwo\nthree\n").run();

    let fixed = script.replace("three >> /root/done; exit 7", "3 >> /root/done");
    let ran = run(&fixed).run();
    assert!(ran.stderr.contains("child: resuming from operation 2 of the failed try.\n"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("child: 2: "), "{}", ran.stderr);
    // Neither is anything missing, nor done twice, nor left over from the operation that failed.
    lab.exec("child", &["cat", "/root/done"]).stdout("one\ntwo\n3\nfour\n").run();
    assert_eq!(lab.virsh_tree(), "base\n  |\n  +- child\n");

    // The same for the edited end of a step that succeeded.
    let edited = fixed.replace("echo four", "echo 4");
    let ran = run(&edited).run();
    assert!(ran.stderr.contains("child: resuming from operation 3 of the last build.\n"), "{}", ran.stderr);
    lab.exec("child", &["cat", "/root/done"]).stdout("one\ntwo\n3\n4\n").run();
    let cached = run(&edited).run();
    assert!(cached.stderr.contains("child: cached.\n"), "{}", cached.stderr);
    lab.assert_no_clone_is_left();
    lab.snaptree(&["gc", &lab.machine, "--yes"]).any_stderr().run();
    lab.exec("child", &["cat", "/root/done"]).stdout("one\ntwo\n3\n4\n").run();
    lab.snaptree(&["delete", &lab.machine, "--yes"]).any_stderr().run();
    assert_eq!(lab.files(), Vec::<std::path::PathBuf>::new());
}
