//! What a run says while it builds: the branch of each line, and what a guest cannot do to it.

use serde_json::json;

use crate::support::{Test, terminal};

/// Two machines of the same shape; their branches are built at the same time, some of them below others.
const LABS: &str = "
    local image = require 'images.tiny' {}
    local one, two = machine('one', { image = image }), machine('two', { image = image })
    local function grow(vm)
      local web = vm:root('base'):branches {
        db = function(guest) guest:run 'fill' end,
        web = function(guest) guest:run 'serve' end,
      }.web
      web:branches { a = function(guest) guest:run 'fill' end, b = function(guest) guest:run 'serve' end }
    end
    parallel { function() grow(one) end, function() grow(two) end }
";

fn run(script: &str) -> Test {
    let answers = json!([
        { "command": "fill", "stdout": "filling\n", "delay_ms": 100 },
        { "command": "serve", "stdout": "no line end", "delay_ms": 150 },
        { "command": "steer", "stdout": "10%\r90%\r\nred \u{1b}[31m\u{1b}[2J\u{7}\tend\n" },
        { "command": "give up", "status": 3, "stdout": "half a line" },
    ]);
    Test::new().answers(answers).script(script).args(["run", "script.lua"])
}

#[test]
fn each_line_of_branches_that_are_built_at_the_same_time_says_whose_it_is() {
    let ran = run(LABS).args(["--verbose", "--jobs", "4"]).any_stderr().run();
    let (report, trees) = ran.stderr.split_once("one:\n").expect(&ran.stderr);
    let shape = "base (current)\n  |\n  +- db\n  +- web\n      |\n      +- a\n      +- b\n";
    assert_eq!(trees, format!("{shape}\ntwo:\n{shape}"));
    let mut told = 0;
    for machine in ["one", "two"] {
        for (node, command, output) in [
            ("db", "fill", "filling"),
            ("web", "serve", "no line end"),
            ("a", "fill", "filling"),
            ("b", "serve", "no line end"),
        ] {
            let how = if ["a", "b"].contains(&node) { "resumed" } else { "booted" };
            let whose = |line: &&str| line.split([':', ' ']).next() == Some(&format!("{machine}/{node}"));
            let lines: Vec<&str> = report.lines().filter(whose).collect();
            let expected = format!(
                "{machine}/{node}: building, because it does not exist yet.\n\
                 {machine}/{node}: {how} in [TIME].\n\
                 {machine}/{node}: 1: run \"{command}\"\n\
                 {machine}/{node} | {output}\n\
                 {machine}/{node}: 1: done in [TIME].\n\
                 {machine}/{node}: built in [TIME]."
            );
            assert_eq!(lines.join("\n"), expected);
            told += lines.len();
        }
    }
    let roots = report.lines().filter(|line| line.contains("/base: ")).count();
    assert_eq!(told + roots, report.lines().count(), "{report}");
}

#[test]
fn a_machine_that_comes_later_is_told_from_the_one_before() {
    let script = "
        for _, name in ipairs { 'one', 'two', 'three' } do
          local base = machine(name, { image = require 'images.tiny' {} }):root('base')
          base:branch('child', function(guest) guest:run 'true' end)
        end
    ";
    let ran = run(script).any_stderr().run();
    let tree = "base (current)\n  |\n  +- child\n";
    ran.again()
        .args(["run", "script.lua"])
        .stderr(&format!(
            "base: cached.\nchild: cached.\nThe nodes above are those of `one`.\n\
             two/base: cached.\ntwo/child: cached.\nthree/base: cached.\nthree/child: cached.\n\
             one:\n{tree}\ntwo:\n{tree}\nthree:\n{tree}"
        ))
        .run();
}

#[test]
fn what_a_guest_prints_does_not_steer_the_terminal() {
    let script = "
        machine('lab', { image = require 'images.tiny' {} }):root('base'):branch('child', function(guest)
          guest:run 'steer'
        end)
    ";
    let ran = run(script).args(["--verbose"]).any_stderr().run();
    let said: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("child |")).collect();
    assert_eq!(said, ["child | 90%", "child | red  [31m [2J \tend"]);
    let failing = script.replace("'steer'", "'steer; false'");
    let answers = json!([{ "command": "steer; false", "status": 1, "stderr": "\u{1b}[2Jgone\n" }]);
    let ran = run(&failing).answers(answers).status(1).any_stderr().run();
    assert!(ran.stderr.ends_with("in `child`\n  |  [2Jgone\n"), "{}", ran.stderr);
}

#[test]
fn an_operation_that_failed_is_reported_even_if_the_step_continues() {
    run("
        machine('lab', { image = require 'images.tiny' {} }):root('base'):branch('child', function(guest)
          pcall(guest.run, guest, 'give up')
          guest:run 'fill'
        end)
    ")
    .args(["--verbose"])
    .stderr(
        "
        base: building, because it does not exist yet.
        base: built in [TIME].
        child: building, because it does not exist yet.
        child: booted in [TIME].
        child: 1: run \"give up\"
        child | half a line
        child: 1: failed after [TIME].
        child: 1: run \"fill\"
        child | filling
        child: 1: done in [TIME].
        child: built in [TIME].
        base (current)
          |
          +- child
        ",
    )
    .run();
}

#[test]
fn a_terminal_has_a_bar_for_each_branch_and_a_line_for_each_operation() {
    let test = run(LABS).env("TERM", "xterm");
    let mut screen = terminal::open(&test.again(), "$SNAPTREE run --jobs 4 script.lua; echo status $?");
    let said = screen.exp_string("status 0").expect("the end");
    for node in ["one/db", "one/web", "two/db", "two/web", "one/a", "one/b", "two/a", "two/b"] {
        let command = if ["db", "a"].contains(&&node[4..]) { "fill" } else { "serve" };
        assert!(said.contains(&format!(" {node} 0s 1: run \"{command}\"")), "no bar for {node}: {said:?}");
        let line = format!("{node}: 1: run \"{command}\": ");
        assert_eq!(said.matches(&line).count(), 1, "{node}: {said:?}");
        assert!(said.contains(&format!("{node}: built in ")), "{node}: {said:?}");
    }
}

#[test]
fn a_terminal_that_cannot_draw_bars_gets_lines() {
    let test = run(LABS).env("TERM", "dumb");
    let mut screen = terminal::open(&test.again(), "$SNAPTREE run script.lua; echo status $?");
    let said = screen.exp_string("status 0").expect("the end");
    assert!(said.contains("one/db: 1: run \"fill\"\r\n") && said.contains("one/db: 1: done in "), "{said:?}");
}
