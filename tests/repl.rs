//! The prompt: through a pipe with exact output, and in a terminal.

use std::time::{Duration, Instant};

use rexpect::session::PtySession;
use serde_json::json;

use crate::support::{Ran, Test, terminal};

const SCRIPT: &str = r#"
    local vm = machine("lab", { image = require "images.tiny" {}, memory = "256MiB" })
    local base = vm:root("base", { comment = "fresh" })
    local web = base:branch("web", function(guest)
      guest:run "install"
      guest:write("/etc/conf", "port=1\n", { mode = "0600" })
    end)
"#;

fn answers() -> serde_json::Value {
    json!([
        { "command": "greet", "stdout": "hello\nthere\n" },
        { "command": "break", "status": 3, "stderr": "it broke\n" },
        { "command": "hang", "delay_ms": 600_000 },
    ])
}

/// A machine with two snapshots.
fn lab() -> Ran {
    Test::new().answers(answers()).script(SCRIPT).args(["run", "script.lua"]).any_stderr().run()
}

fn typed(lab: &Ran, lines: &str) -> Test {
    lab.again().args(["-q", "repl"]).stdin(lines)
}

#[test]
fn lines_from_a_pipe_are_carried_out_until_one_fails() {
    let lab = lab();
    typed(
        &lab,
        "#!/usr/bin/env -S snaptree repl\n1 + 1\n\nlocal t = { 1, 'x',\n  a = { true } }\nt\nfunction f()\n  return t.a\nend\nf()\n\
         nil\nprint(t[2])\n_\nerror('no\\nmore')\nprint 'never'\n",
    )
    .status(1)
    .stdout("2\n{ 1, \"x\", a = { true } }\n{ true }\nx\n{ true }\n")
    .stderr("error: no\n  | more\n")
    .run();
}

#[test]
fn what_is_wrong_with_a_line_is_said_with_the_status_of_a_script_that_fails() {
    let lab = lab();
    for (line, error) in [
        ("1 +", "error: unexpected symbol near <eof>\n"),
        ("x = = 1", "error: unexpected symbol near '='\n"),
        ("local t = nil; t.x = 1", "error: attempt to index a nil value (global 't')\n"),
        ("function f(", "error: <name> or '...' expected near <eof>\n"),
        (
            "run 'ls'",
            "error: no machine is in use\nhint: use(\"MACHINE/SNAPSHOT\") makes a working fork of a snapshot\n",
        ),
        ("use 'lab/wbe'", "error: there is no snapshot `wbe` in `lab`\nhint: `snaptree tree` lists what there is\n"),
        (
            "use 'elsewhere/web'",
            "error: there is no machine `elsewhere` on fake:state.json\nhint: `snaptree tree` lists what there is\n",
        ),
        ("use(1)", "error: use: where? not a integer\nhint: use(\"MACHINE/SNAPSHOT\"), or use(a snapshot)\n"),
        ("back()", "error: no machine is in use\nhint: use(\"MACHINE/SNAPSHOT\") makes a working fork of a snapshot\n"),
        ("back(0)", "error: back: the number of operations must be a whole number from 1 on, not 0\n"),
        (
            "undo()",
            "error: undo: of which machine?\nhint: undo(\"MACHINE\"); back() undoes operations in a working fork\n",
        ),
        (
            "retry()",
            "error: there is no step to run again\nhint: retry() is for the prompt of `snaptree run --on-error repl`\n",
        ),
    ] {
        typed(&lab, line).status(1).stderr(error).run();
    }
    for (line, error) in [
        (".tre", "error: there is no command `.tre`\nhint: did you mean `.tree`?\n"),
        (".save", "error: .save: FILE is missing\nhint: .save FILE\n"),
        (".reload", "error: there is no script to load again\nhint: `snaptree repl SCRIPT` starts with one\n"),
        (".load missing.lua", "error: cannot read `missing.lua`: No such file or directory\n"),
    ] {
        typed(&lab, line).status(2).stderr(error).run();
    }
    assert_eq!(lab.domains(), ["lab"]);
}

#[test]
fn each_line_acts_at_once_and_can_be_taken_back() {
    let lab = lab();
    let ran = typed(
        &lab,
        "use 'lab/web'\nrun 'greet'\nlocal r = run('break', { check = false })\nr.status\nwrite('/a', 'b')\n.journal\n\
         back()\n.journal\nback(2)\n.journal\nguest\nrun { 'echo', 'a' }\nsnapshot('kept', { comment = 'why' })\n.journal\n\
         .tree\nrun 'break'\n",
    )
    .status(1)
    .stdout(
        "hello\nthere\n3\n1: run \"greet\"\n2: run \"break\"\n3: write /a, 1 bytes (10e5cf3d)\n\
         1: run \"greet\"\n2: run \"break\"\nnothing was done since lab/web\n<guest of lab/web>\n<snapshot lab/kept>\n\
         nothing was done since lab/kept\nbase (current)\n  |\n  +- web\n      |\n      +- kept\n",
    )
    .any_stderr()
    .run();
    assert_eq!(lab.domains(), ["lab"], "the working forks are gone");
    assert!(
        ran.stderr.ends_with("error: \"break\" failed with exit status 3 in `kept`\n  | it broke\n"),
        "{}",
        ran.stderr
    );
    let kept = lab.again().args(["log", "lab/kept"]).any_stdout().run().stdout;
    assert!(kept.contains("1: run {\"echo\", \"a\"}"), "{kept}");
}

#[test]
fn what_was_made_is_saved_as_a_script_that_builds_it() {
    let lab = lab();
    lab.again()
        .args(["-q", "repl", "script.lua"])
        .stdin(
            "use(web)\nrun('greet', { env = { A = 'b c' }, cwd = '/tmp' })\nrun('break', { check = false })\nback()\n\
             write('/b', 'line\\n\\0\\xff\"')\nsnapshot('a b')\nrun 'dead end'\nrevert()\nwait_for_port(80)\nsnapshot 'next'\n\
             use(web)\nreboot()\nsnapshot('gone')\nvm:find('gone'):delete()\n.save out.lua\n",
        )
        .stdout("hello\nthere\nexit status 3\n<snapshot lab/a b>\n<snapshot lab/next>\n<snapshot lab/gone>\n{ \"gone\" }\nwrote out.lua\n")
        .any_stderr()
        .run();
    let saved = std::fs::read_to_string(lab.path().join("out.lua")).expect("the saved script");
    let expected = r#"-- Written by `.save` at snaptree's prompt.

local vm = machine("lab", {
  image = require "images.tiny" {},
  memory = "256MiB",
})

local base = vm:root("base", { comment = "fresh" })

local web = base:branch("web", function(guest)
  guest:run "install"
  guest:write("/etc/conf", "port=1\n", { mode = "0600" })
end)

local a_b = web:branch("a b", function(guest)
  guest:run("greet", { env = { A = "b c" }, cwd = "/tmp" })
  guest:write("/b", "line\n\u{0}\xff\"")
end)

local next = a_b:branch("next", function(guest)
  guest:wait_for_port(80)
end)
"#;
    assert_eq!(saved, expected);
    let tree = "base: cached.\nweb: cached.\na b: cached.\nnext: cached.\nbase (current)\n  |\n  +- web\n      |\n      \
                +- a b\n          |\n          +- next\n";
    lab.again().args(["run", "out.lua"]).stderr(tree).run();
    lab.again().args(["delete", "lab", "--yes"]).any_stderr().run();
    lab.again().args(["-q", "run", "out.lua"]).run();
    lab.again().args(["run", "out.lua"]).stderr(tree).run();
    typed(&lab, "x = 1\n.save out.lua\n")
        .status(1)
        .stderr(
            "error: nothing was made at this prompt\nhint: snapshot(\"NAME\") keeps the working fork as it is as a branch\n",
        )
        .run();
    lab.again()
        .args(["-q", "repl", "script.lua"])
        .stdin(".save script.lua\n")
        .status(1)
        .stderr(
            "error: `script.lua` exists already, and .save did not write it\nhint: choose another name; nothing was written\n",
        )
        .run();
}

#[test]
fn what_no_journal_has_cannot_be_saved_and_that_is_said() {
    let lab = lab();
    typed(&lab, "use 'lab/web'\nrun 'greet'\nsnapshot 'more'\n.save out.lua\n")
        .status(1)
        .any_stdout()
        .stderr(
            "error: operation 2 of `web` cannot be written down: a journal keeps only the digest of what went into the \
             guest\nhint: what went in at this prompt is known, and what its script did: `snaptree repl SCRIPT`\n",
        )
        .run();
    assert!(!lab.path().join("out.lua").exists());
}

#[test]
fn a_script_is_loaded_first_and_again_when_it_changed() {
    let test = Test::new().answers(answers()).script(SCRIPT).file("mod.lua", "return { n = 1 }");
    let ran =
        test.args(["repl", "script.lua"]).stdin("web.name\nlocal m = require 'mod'\nm.n\n").stdout("\"web\"\n1\n");
    let lab = ran.any_stderr().run();
    let again = lab.again().script(&format!("{SCRIPT}\n    web:branch('more', function(guest) guest:run 'greet' end)"));
    again
        .args(["repl", "script.lua"])
        .stdin(".reload\nvm:find('more')\n")
        .stdout("<snapshot lab/more>\n")
        .stderr_contains("more: building, because it does not exist yet.\n")
        .stderr_contains("more: cached.\n")
        .run();
}

#[test]
fn a_script_that_fails_ends_a_pipe() {
    let test = Test::new().script("error 'no'").args(["repl", "script.lua"]).stdin("print 'never'\n");
    test.status(1).stderr("error: script.lua:1: no\n").run();
}

#[test]
fn one_line_is_evaluated() {
    let lab = lab();
    lab.again().args(["eval", "machine.list()"]).stdout("{ <machine lab> }\n").run();
    lab.again().args(["eval", "1, 'a'"]).stdout("1\t\"a\"\n").run();
    lab.again().args(["eval", "x = 1"]).run();
    lab.again().args(["eval", "1 +"]).status(1).stderr("error: unexpected symbol near <eof>\n").run();
    lab.again().args(["eval", ".tree lab"]).stdout("base (current)\n  |\n  +- web\n").run();
}

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
fn somebody_types_sees_output_as_it_comes_and_goes_back() {
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
    see(&mut session, "error: nobody knows what `run \"hang\"` did, which did not come to its end");
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
fn colours_are_left_out_when_nobody_wants_them() {
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
    see(&mut session, "retry() runs the step again");
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
fn help_is_the_manual_by_name_by_value_and_with_a_question_mark() {
    let lab = lab();
    let manual = lab.again().args(["eval", "help('snapshot:branch')"]).any_stdout().run().stdout;
    assert!(manual.starts_with("snapshot:branch(name, step, options?) -> snapshot\n"), "{manual}");
    for asked in ["snapshot:branch?", "web:branch?", ".help snapshot:branch", "help 'web.branch'"] {
        lab.again().args(["-q", "repl", "script.lua"]).stdin(asked).stdout(&manual).run();
    }
    for (asked, first) in [
        ("help(web)", "snapshot"),
        ("help(machine)", "machine(name, options) -> machine"),
        ("help(machine.open)", "machine.open(name) -> machine"),
        ("help(run)", "run(command, options?)"),
        ("help(require 'apt')", "require \"apt\"\n"),
        ("help(require('mariadb').install)", "mariadb.install("),
    ] {
        let said = lab.again().args(["-q", "repl", "script.lua"]).stdin(asked).any_stdout().run().stdout;
        assert!(said.starts_with(first), "{asked}: {said}");
    }
    let all = lab.again().args(["eval", "help()"]).any_stdout().run().stdout;
    assert!(all.contains("machine") && all.contains("back"), "{all}");
    lab.again()
        .args(["eval", "help('snapshot:brunch')"])
        .status(1)
        .stderr("error: there is no help on `snapshot:brunch`\nhint: did you mean `snapshot:branch`?\n")
        .run();
    lab.again()
        .args(["eval", "help({})"])
        .status(1)
        .stderr(
            "error: there is no help on a table of yours\n\
             hint: help() lists what there is; help(\"snapshot:branch\") explains one thing\n",
        )
        .run();
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
