//! `snaptree shell` in a terminal, on the fake hypervisor.

use rexpect::session::PtySession;
use serde_json::json;

use crate::support::{Ran, Test, terminal};

const CONNECTED: &str = "Connected to lab/base. The leave key is Ctrl-].\r\n";

/// A machine with one snapshot, whose guests answer `greet` and sleep.
fn lab() -> Ran {
    let answers = json!([
        { "command": "greet", "stdout": "hello\nthere\n" },
        { "command": "hang", "delay_ms": 60_000 },
    ]);
    let script = "machine('lab', { image = require 'images.tiny' {} }):root 'base'";
    Test::new().answers(answers).script(script).args(["run", "script.lua"]).any_stderr().run()
}

fn sit(lab: &Ran, line: &str) -> PtySession {
    terminal::open(&lab.again(), line)
}

#[test]
fn a_line_is_run_in_a_fork_and_the_leave_key_leaves() {
    let lab = lab();
    let mut shell = sit(&lab, "stty -echo; stty -g; $SNAPTREE shell lab/base; echo status $?; stty -g");
    let before = shell.read_line().expect("the terminal's settings");
    shell.exp_string(CONNECTED).expect("the first line");
    shell.exp_string("# ").expect("a prompt");
    terminal::type_in(&mut shell, "greet\r");
    shell.exp_string("greet\r\nhello\r\nthere\r\n# ").expect("the echo and the answer");
    terminal::type_in(&mut shell, "half a line");
    shell.exp_string("half a line").expect("the echo");
    terminal::type_in(&mut shell, "\u{1d}never seen\r");
    let last = shell.exp_string("Left lab/base.\r\nstatus 0\r\n").expect("the end");
    assert_eq!(last, "\r\n");
    assert_eq!(shell.read_line().expect("the terminal's settings"), before);
    let after = shell.exp_eof().expect("the end of the terminal");
    assert_eq!(after, "", "what follows the leave key goes nowhere");
    assert_eq!(lab.executed(), ["greet"]);
    assert_eq!(lab.domains(), ["lab"]);
}

#[test]
fn ctrl_c_reaches_the_guest() {
    let lab = lab();
    let mut shell = sit(&lab, "$SNAPTREE shell lab/base; echo status $?");
    shell.exp_string(CONNECTED).expect("the first line");
    shell.exp_string("# ").expect("a prompt");
    terminal::type_in(&mut shell, "hang\r");
    shell.exp_string("hang\r\n").expect("the echo");
    terminal::type_in(&mut shell, "\u{3}");
    shell.exp_string("^C\r\n# ").expect("the next prompt");
    terminal::type_in(&mut shell, "greet\r");
    shell.exp_string("hello").expect("the guest is still there");
    terminal::type_in(&mut shell, "\u{1d}");
    shell.exp_string("status 0").expect("the end");
}

#[test]
fn a_guest_that_shuts_down_ends_the_session() {
    let lab = lab();
    let mut shell = sit(&lab, "stty -echo; stty -g; $SNAPTREE shell lab/base; echo status $?; stty -g");
    let before = shell.read_line().expect("the terminal's settings");
    shell.exp_string(CONNECTED).expect("the first line");
    shell.exp_string("# ").expect("a prompt");
    terminal::type_in(&mut shell, "poweroff\r");
    shell.exp_string("poweroff\r\nlab/base has shut down.\r\nstatus 0\r\n").expect("the end");
    assert_eq!(shell.read_line().expect("the terminal's settings"), before);
    assert_eq!(lab.domains(), ["lab"]);
}

#[test]
fn the_guest_learns_each_size_of_the_window() {
    let lab = lab();
    let mut shell = sit(&lab, "$SNAPTREE console -e ^A lab/base");
    shell.exp_string("The leave key is Ctrl-A.").expect("the first line");
    shell.exp_string("# ").expect("a prompt");
    terminal::resize(&shell, 50, 132);
    let sizes = ["stty -F /dev/ttyS0 rows 24 cols 80", "stty -F /dev/ttyS0 rows 50 cols 132"];
    terminal::wait_until(|| lab.executed() == sizes);
    terminal::type_in(&mut shell, "\u{1}");
    shell.exp_string("Left lab/base.").expect("the end");
}

#[test]
fn a_signal_ends_the_session_with_the_terminal_as_it_was() {
    for signal in ["TERM", "HUP", "INT", "QUIT"] {
        let lab = lab();
        let mut shell = sit(
            &lab,
            "stty -echo; stty -g; trap : HUP INT QUIT; $SNAPTREE shell lab/base & echo pid $!; fg >/dev/null; \
             echo status $?; stty -g",
        );
        let before = shell.read_line().expect("the terminal's settings");
        let pid = shell.read_line().expect("the process");
        shell.exp_string("# ").expect("a prompt");
        let pid = pid.trim_start_matches("pid ").to_string();
        let killed = std::process::Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(killed.expect("cannot run kill").success());
        shell.exp_string("error: interrupted\r\nstatus 130\r\n").expect(signal);
        assert_eq!(shell.read_line().expect("the terminal's settings"), before, "{signal}");
        assert_eq!(lab.domains(), ["lab"], "{signal}");
    }
}

#[test]
fn a_machine_that_runs_is_sat_at_itself() {
    let lab = lab();
    lab.again()
        .args(["shell", "lab"])
        .status(2)
        .stderr(
            "error: `snaptree shell` needs a terminal: the standard input is not one\n\
             hint: `snaptree exec MACHINE/SNAPSHOT -- CMD...` runs a command without one\n",
        )
        .run();
    for command in ["shell", "console"] {
        let mut shell = sit(&lab, &format!("$SNAPTREE {command} lab; echo status $?"));
        let hint = "hint: start it with `virsh start lab`, or name a snapshot, as in lab/SNAPSHOT\r\nstatus 1\r\n";
        let said = shell.exp_string(hint).expect("the refusal");
        assert_eq!(said, "error: `lab` is not running\r\n");
    }

    lab.again().args(["revert", "lab/base", "--running", "--yes"]).any_stderr().run();
    let mut shell = sit(&lab, "$SNAPTREE shell lab; echo status $?");
    shell.exp_string("Connected to lab. The leave key is Ctrl-].\r\n# ").expect("a prompt");
    terminal::type_in(&mut shell, "exit\r");
    shell.exp_string("exit\r\nLeft lab.\r\nstatus 0\r\n").expect("the end");

    let mut shell = sit(&lab, "$SNAPTREE console lab; echo status $?");
    shell.exp_string("Connected to lab. The leave key is Ctrl-].\r\n").expect("the first line");
    terminal::type_in(&mut shell, "greet\r");
    let before = shell.exp_string("greet\r\nhello\r\nthere\r\n# ").expect("the answer");
    assert_eq!(before, "", "nothing is typed for the user");
    terminal::type_in(&mut shell, "\u{1d}");
    shell.exp_string("\r\nLeft lab.\r\nstatus 0\r\n").expect("the end");
    assert_eq!(lab.state()["domains"]["lab"]["state"], "running");
}

#[test]
fn what_is_left_of_a_failed_step_is_entered_and_stays_as_it_is() {
    let script = r#"
        local base = machine("lab", { image = require "images.tiny" {} }):root "base"
        base:branch("child", function(guest)
          guest:write("/etc/conf", "port=1\n")
          guest:run "false"
        end)
    "#;
    let failed = Test::new().script(script).args(["run", "script.lua"]).status(1).any_stderr().run();
    let mut shell = sit(&failed, "$SNAPTREE shell --failed lab/child; echo status $?");
    shell.exp_string("Connected to lab/child (failed). The leave key is Ctrl-].\r\n").expect("the first line");
    shell.exp_string("# ").expect("a prompt");
    terminal::type_in(&mut shell, "cat /etc/conf\r");
    shell.exp_string("cat /etc/conf\r\nport=1\r\n# ").expect("what the step wrote");
    terminal::type_in(&mut shell, "\u{1d}");
    shell.exp_string("\r\nLeft lab/child (failed).\r\nstatus 0\r\n").expect("the end");
    assert_eq!(failed.domains(), ["lab"]);

    let mut shell = sit(&failed, "$SNAPTREE shell --failed lab/child; echo status $?");
    shell.exp_string("# ").expect("a prompt");
    terminal::type_in(&mut shell, "poweroff\r");
    shell.exp_string("poweroff\r\nlab/child (failed) has shut down.\r\nstatus 0\r\n").expect("the end");

    let refused = |line: &str, error: &str| {
        let mut shell = sit(&failed, line);
        assert_eq!(shell.exp_eof().expect("the end").replace('\r', ""), error, "{line}");
    };
    refused(
        "$SNAPTREE shell lab/child; echo status $?",
        "error: there is no snapshot `child` in `lab`\nhint: its step failed; `--failed` uses its last state\nstatus 1\n",
    );
    refused(
        "$SNAPTREE shell --failed lab/base; echo status $?",
        "error: there is no failed `base` in `lab`\nhint: `snaptree info lab` lists what failed\nstatus 1\n",
    );
    refused(
        "$SNAPTREE shell --failed lab; echo status $?",
        "error: `lab` names no snapshot\nhint: write lab/SNAPSHOT; `snaptree info lab` lists what failed\nstatus 2\n",
    );
}

#[test]
fn a_command_may_have_a_terminal() {
    let lab = lab();
    let mut shell = sit(&lab, "$SNAPTREE exec -it lab/base -- greet; echo status $?");
    shell.exp_string("hello\r\nthere\r\nstatus 0\r\n").expect("what it prints");
    let mut shell = sit(&lab, "$SNAPTREE exec --tty lab/base -- false; echo status $?");
    shell.exp_string("status 1\r\n").expect("its status");
    assert_eq!(lab.domains(), ["lab"]);
    lab.again()
        .args(["exec", "-t", "lab/base", "--", "true"])
        .status(2)
        .stderr(
            "error: `snaptree exec --tty` needs a terminal: the standard input is not one\n\
             hint: `snaptree exec MACHINE/SNAPSHOT -- CMD...` runs a command without one\n",
        )
        .run();
}

#[test]
fn what_cannot_be_sat_at_is_refused() {
    let lab = lab();
    let refused = |line: &str, error: &str| {
        let mut shell = sit(&lab, line);
        assert_eq!(shell.exp_eof().expect("the end").replace('\r', ""), error, "{line}");
    };
    refused("$SNAPTREE shell lab/bse", "error: there is no snapshot `bse` in `lab`\nhint: did you mean `base`?\n");
    refused(
        "$SNAPTREE shell lab/base </dev/null",
        "error: `snaptree shell` needs a terminal: the standard input is not one\n\
         hint: `snaptree exec MACHINE/SNAPSHOT -- CMD...` runs a command without one\n",
    );
    refused(
        "$SNAPTREE shell lab/base | cat",
        "error: `snaptree shell` needs a terminal: the standard output is not one\n\
         hint: `snaptree exec MACHINE/SNAPSHOT -- CMD...` runs a command without one\n",
    );
    refused(
        "$SNAPTREE shell -e ^1 lab/base",
        "error: invalid value '^1' for '--escape <KEY>': it is `^` and one of A to Z, @, [, \\, ], ^ and _, or a single \
         sign\n\nFor more information, try '--help'.\n",
    );
}
