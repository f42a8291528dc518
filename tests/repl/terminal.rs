//! What a person does at the prompt, in a terminal.

use std::time::{Duration, Instant};

use rexpect::session::PtySession;
use serde_json::json;

use super::{answers, lab};
use crate::support::{Ran, Test, terminal};

fn sit(lab: &Ran, arguments: &str) -> PtySession {
    let mut session = terminal::open(&lab.again(), &format!("$SNAPTREE repl {arguments}; echo status $?"));
    session.exp_string("Ctrl-D leaves.").expect("the first line");
    session
}

/// Leaves once the prompt is there again.
fn leave(session: &mut PtySession) {
    see(session, "\r\n");
    see(session, "> ");
    terminal::type_in(session, "\u{4}");
    see(session, "status 0");
}

#[track_caller]
fn see(session: &mut PtySession, text: &str) -> String {
    session.exp_string(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_user_types_sees_output_as_it_comes_and_goes_back() {
    let lab = lab();
    let mut session = sit(&lab, "");
    see(&mut session, "snaptree> ");
    terminal::type_in(&mut session, "use 'lab/web'\r");
    see(&mut session, "lab/web> ");
    terminal::type_in(&mut session, "run 'greet'\r");
    see(&mut session, "\r\nhello\r\nthere\r\n");
    see(&mut session, "lab/web+1> ");
    terminal::type_in(&mut session, "run 'break'\r");
    see(&mut session, "it broke");
    see(&mut session, "failed with exit status 3");
    see(&mut session, "lab/web+2> ");
    terminal::type_in(&mut session, "back(2)\r");
    see(&mut session, "lab/web> ");
    terminal::type_in(&mut session, "for i = 1, 2 do\rprint('データ' .. i)\rend\r");
    see(&mut session, "1\r\n");
    see(&mut session, "2\r\n");
    see(&mut session, "> ");
    terminal::type_in(&mut session, "\u{3}");
    see(&mut session, "> ");
    terminal::type_in(&mut session, "\u{3}");
    see(&mut session, "Ctrl-D or .quit leaves.");
    terminal::type_in(&mut session, "\u{4}");
    see(&mut session, "status 0");
    assert_eq!(lab.domains(), ["lab"]);
}

#[test]
fn ctrl_c_stops_a_command_or_a_loop_and_the_machine_stays_usable() {
    let lab = lab();
    let mut session = sit(&lab, "");
    terminal::type_in(&mut session, "use 'lab/web'\r");
    see(&mut session, "lab/web> ");
    for (line, begun) in [
        ("run 'hang'\r", "\n"),
        ("print 'looping' while true do end\r", "\nlooping"),
        ("while true do pcall(function() while true do end end) end\r", "\n"),
    ] {
        terminal::type_in(&mut session, line);
        see(&mut session, begun);
        std::thread::sleep(Duration::from_millis(300));
        let started = Instant::now();
        terminal::type_in(&mut session, "\u{3}");
        see(&mut session, "error: interrupted");
        see(&mut session, "> ");
        assert!(started.elapsed() < Duration::from_secs(1), "{line}: {:?}", started.elapsed());
    }
    see_place(&mut session, "lab/web+1?> ");
    terminal::type_in(&mut session, "snapshot 'x'\r");
    see(&mut session, "error: `run \"hang\"` was interrupted; its effect is unknown");
    terminal::type_in(&mut session, "back()\r");
    see(&mut session, "lab/web> ");
    terminal::type_in(&mut session, "run 'greet'\r");
    see(&mut session, "hello");
    see(&mut session, "lab/web+1> ");
    terminal::type_in(&mut session, ".quit\r");
    see(&mut session, "status 0");
    assert_eq!(lab.domains(), ["lab"]);
}

fn see_place(session: &mut PtySession, place: &str) {
    terminal::type_in(session, "\r");
    see(session, place);
}

#[test]
fn lines_are_remembered_from_one_session_to_the_next() {
    let lab = lab();
    for (keys, seen) in [("first = 'one two'", "first = 'one two'"), ("\u{1b}[A", "first = 'one two'")] {
        let mut session = sit(&lab, "");
        see(&mut session, "snaptree> ");
        terminal::type_in(&mut session, keys);
        see(&mut session, seen);
        terminal::type_in(&mut session, "\r");
        leave(&mut session);
    }
}

#[test]
fn a_paste_of_ten_thousand_lines_is_one_line_of_input() {
    let lab = lab();
    let mut session = sit(&lab, "");
    see(&mut session, "snaptree> ");
    let lines: String = (0..10_000).map(|n| format!("x{n} = {n}\r")).collect();
    terminal::type_in(&mut session, &format!("\u{1b}[200~do\r{lines}end\u{1b}[201~\r"));
    see(&mut session, "x9999 = 9999\r\nend");
    see(&mut session, "> ");
    terminal::type_in(&mut session, "print('last', x0, x9999)\r");
    see(&mut session, "\nlast\t0\t9999");
}

#[test]
fn colours_are_left_out_when_they_are_not_wanted() {
    let lab = lab();
    for (variable, has_colours) in [("unset NO_COLOR", true), ("true", false)] {
        let mut session = terminal::open(&lab.again(), &format!("{variable}; export TERM=xterm; $SNAPTREE repl"));
        see(&mut session, "Ctrl-D leaves.");
        see(&mut session, "> ");
        terminal::type_in(&mut session, "local x = 'text'");
        let rest = see(&mut session, "text'");
        assert_eq!(rest.contains("\u{1b}[35m"), has_colours, "{rest:?}");
    }
}

#[test]
fn a_failed_step_is_entered_and_run_again() {
    let script = r#"
        local vm = machine("lab", { image = require "images.tiny" {} })
        ready = false
        local child = vm:root("base"):branch("child", function(guest)
          guest:run "prepare"
          guest:run(ready and "greet" or "break")
        end)
        print("after", child)
    "#;
    let lab = Test::new().answers(answers()).script(script).args(["images"]).any_stdout().any_stderr().run();
    let mut session = terminal::open(&lab.again(), "$SNAPTREE run --on-error repl script.lua; echo status $?");
    see(&mut session, "\"break\" failed with exit status 3");
    see(&mut session, "retry() runs it again");
    see(&mut session, "lab/child (failed)+2?> ");
    terminal::type_in(&mut session, "parent\r");
    see(&mut session, "\n<snapshot lab/base>");
    terminal::type_in(&mut session, "run 'greet'\r");
    see(&mut session, "\nhello\r\nthere");
    terminal::type_in(&mut session, "retry()\r");
    see(&mut session, "\"break\" failed with exit status 3");
    see(&mut session, "lab/child (failed)+2?> ");
    terminal::type_in(&mut session, "_G.ready = true\r");
    see(&mut session, "+2?> ");
    terminal::type_in(&mut session, "retry()\r");
    see(&mut session, "\nafter\tlab/child");
    see(&mut session, "status 0");
    assert_eq!(lab.domains(), ["lab"]);
}

#[test]
fn who_leaves_a_failed_step_gets_the_failure() {
    let script = r#"
        local vm = machine("lab", { image = require "images.tiny" {} })
        vm:root("base"):branches {
          a = function(guest) guest:run "break" end,
          b = function(guest) guest:run "greet" end,
        }
    "#;
    let lab = Test::new().answers(answers()).script(script).args(["images"]).any_stdout().any_stderr().run();
    let mut session = terminal::open(&lab.again(), "$SNAPTREE run --on-error repl script.lua; echo status $?");
    see(&mut session, "lab/a (failed)+1?> ");
    terminal::type_in(&mut session, "run 'hang'\r");
    see(&mut session, "\n");
    std::thread::sleep(Duration::from_millis(300));
    terminal::type_in(&mut session, "\u{3}");
    see(&mut session, "error: interrupted");
    terminal::type_in(&mut session, "\u{4}");
    see(&mut session, "failed with exit status 3");
    see(&mut session, "status 1");
    assert_eq!(lab.domains(), ["lab"]);
    lab.again().args(["run", "--on-error", "repl", "script.lua"]).status(2).stderr(
        "error: --on-error repl needs a terminal\nhint: --on-error keep lets `snaptree shell --failed` look around later\n",
    ).run();
}

#[test]
fn the_tab_key_completes_what_can_be_known() {
    let lab = lab();
    let mut session = sit(&lab, "script.lua");
    see(&mut session, "snaptree> ");
    for (typed, completed) in [
        ("mach", "machine"),
        ("str", "string"),
        ("string.form", "string.format"),
        ("base:for", "base:fork"),
        ("base.com", "base.comment"),
        ("base.parent:del", "base.parent:delete"),
        ("vm:find('base'):rev", "vm:find('base'):revert"),
        ("image.fi", "image.file"),
        ("base:branch('x', f, { com", "{ comment = "),
        ("base:branch('x', f, { live = true, ti", "timeout = "),
        ("machine('x', { mem", "{ memory = "),
        ("run('x', { us", "{ user = "),
        ("use 'lab/w", "'lab/web"),
        ("vm:find('we", "find('web"),
        ("require 'images.de", "images.debian"),
        ("guest:push('scr", "push('script.lua"),
        (".jou", ".journal"),
        (".load scr", ".load script.lua"),
        (".time base:is_c", ".time base:is_current"),
        ("local x = 5 + bas", "5 + base"),
    ] {
        terminal::type_in(&mut session, typed);
        see(&mut session, typed.chars().last().map(String::from).as_deref().unwrap_or_default());
        terminal::type_in(&mut session, "\t");
        see(&mut session, completed);
        terminal::type_in(&mut session, "\u{15}");
        see(&mut session, "\u{1b}[K");
    }
    terminal::type_in(&mut session, "web:fork\t\t");
    see(&mut session, "fork");
    see(&mut session, "forks");
    terminal::type_in(&mut session, "\u{15}\u{4}");
    see(&mut session, "status 0");
}

#[test]
fn what_happens_meanwhile_is_told_above_the_line_and_the_window_can_change() {
    let script = r#"
        local vm = machine("lab", { image = require "images.tiny" {} })
        parallel {
          function() vm:root("base"):branch("a", function(guest) guest:run "break" end) end,
          function() machine("other", { image = require "images.tiny" {} }):root("o"):branch("b", function(guest)
            guest:run "slow"
          end) end,
        }
    "#;
    let answers = json!([
        { "command": "break", "status": 3 },
        { "command": "slow", "delay_ms": 3_000 },
    ]);
    let lab = Test::new().answers(answers).script(script).args(["images"]).any_stdout().any_stderr().run();
    let mut session = terminal::open(&lab.again(), "$SNAPTREE run --on-error repl script.lua; echo status $?");
    see(&mut session, "lab/a (failed)+1?> ");
    terminal::type_in(&mut session, "x = 'half a l");
    see(&mut session, "half a l");
    terminal::resize(&session, 30, 60);
    see(&mut session, "other/b: built in");
    see(&mut session, "x = 'half a l");
    terminal::type_in(&mut session, "ine'\r");
    see(&mut session, "+1?> ");
    terminal::type_in(&mut session, "x\r");
    see(&mut session, "\"half a line\"");
    leave_with(&mut session, "status 1");
}

fn leave_with(session: &mut PtySession, last: &str) {
    see(session, "> ");
    terminal::type_in(session, "\u{4}");
    see(session, last);
}

#[test]
fn what_could_follow_is_hinted() {
    let lab = lab();
    let mut session = sit(&lab, "script.lua");
    see(&mut session, "snaptree> ");
    terminal::type_in(&mut session, "base:branch(");
    see(&mut session, "name, step, options?) -> snapshot");
    terminal::type_in(&mut session, "\u{15}first = 'one two'\r");
    see(&mut session, "\r\n");
    see(&mut session, "> ");
    terminal::type_in(&mut session, "fir");
    see(&mut session, "st = 'one two'");
    terminal::type_in(&mut session, "\u{15}\u{4}");
    see(&mut session, "status 0");
}

#[test]
fn a_terminal_is_left_as_it_was_also_by_a_signal() {
    let lab = lab();
    let line = "stty -echo; stty -g; sh -c 'echo the pid is $$.; exec $0 $@' $SNAPTREE repl; echo status $?; stty -g";
    let mut session = terminal::open(&lab.again(), line);
    let before = session.read_line().expect("the terminal's settings");
    see(&mut session, "the pid is ");
    let pid = see(&mut session, ".");
    see(&mut session, "snaptree> ");
    assert!(std::process::Command::new("kill").arg(pid.trim()).status().expect("kill").success());
    see(&mut session, "status 130\r\n");
    assert_eq!(session.read_line().expect("the terminal's settings"), before);
}
