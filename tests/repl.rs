//! The prompt: through a pipe with exact output, and in a terminal.

mod terminal;

use serde_json::json;

use crate::support::{Ran, Test};

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
        ("use(1)", "error: use: where? not an integer\nhint: use(\"MACHINE/SNAPSHOT\"), or use(a snapshot)\n"),
        ("back()", "error: no machine is in use\nhint: use(\"MACHINE/SNAPSHOT\") makes a working fork of a snapshot\n"),
        ("back(0)", "error: back: the number of operations must be a positive whole number, not 0\n"),
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
             guest\nhint: only what was written at this prompt, or by its script, is known: `snaptree repl SCRIPT`\n",
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
fn each_command_does_what_it_says() {
    let lab = lab();
    let lines = "use 'lab/web'\n.jobs\n.load more.lua\nmore.n\n.time more.n\n.time more = 2\n.quit\nprint 'never'\n";
    let ran = typed(&lab, lines).file("more.lua", "local more = { n = 1 }").any_stdout().run();
    let said: Vec<&str> = ran.stdout.lines().collect();
    assert!(said[0].starts_with("lab.fork-") && said[0].ends_with("  of lab/web"), "{said:?}");
    assert_eq!(said[1..], ["1", "1", "took [TIME]", "took [TIME]"]);
    typed(&lab, ".jobs\n").stdout("nothing runs\n").run();
    let help = typed(&lab, ".help\n").any_stdout().run().stdout;
    for command in [".help", ".tree", ".journal", ".save", ".load", ".reload", ".jobs", ".time", ".quit"] {
        assert!(help.lines().any(|line| line.starts_with(command)), "{help}");
    }
}

#[test]
fn the_tree_is_drawn_and_its_last_change_undone() {
    let lab = lab();
    typed(&lab, "machine.open('lab'):find('web'):delete()\ntree 'lab'\nundo 'lab'\n.tree lab\nuse 'lab/web'\ntree()\n")
        .stdout(
            "{ \"web\" }\nbase (current)\n\"delete web\"\nbase (current)\n  |\n  +- web\nbase (current)\n  |\n  +- web\n",
        )
        .run();
}

#[test]
fn errors_read_well_as_values_too() {
    let lab = lab();
    typed(&lab, "pcall(error, 'no')\nlocal ok, why = pcall(snapshot, 'x')\nwhy\n{ why }\n")
        .stdout(
            "false\t\"no\"\n<error prompt:1: no machine is in use\nhint: use(\"MACHINE/SNAPSHOT\") makes a working fork of a \
             snapshot>\n{\n  <error prompt:1: no machine is in use\nhint: use(\"MACHINE/SNAPSHOT\") makes a working fork of \
             a snapshot>,\n}\n",
        )
        .run();
}
