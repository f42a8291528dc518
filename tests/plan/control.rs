//! `--only`, `--rebuild` and `--frozen`.

use super::{CACHED, TREE, plan, run};
use crate::support::Test;

#[test]
fn only_builds_what_is_named_and_what_it_needs() {
    let script = format!("{TREE} base:branch('more', function(g) g:run 'more' end):branch('most', print)");
    let first = Test::new().script(&script).args(["run", "script.lua", "--only", "mariadb"]).any_stderr().run();
    let built: Vec<&str> = first.stderr.lines().filter(|line| line.contains(": building")).collect();
    let missing = |name: &str| format!("{name}: building, because it does not exist yet.");
    assert_eq!(built, ["base", "updated", "mariadb"].map(missing));
    assert_eq!(
        first.state()["domains"]["lab"]["snapshots"].as_object().expect("a tree").keys().collect::<Vec<_>>(),
        ["base", "mariadb", "updated"]
    );
    let two = first.again().args(["run", "script.lua", "--only", "lab/most", "--only", "mariadb"]).any_stdout();
    assert!(!two.any_stderr().run().stderr.contains("postgresql"));
}

#[test]
fn a_plan_takes_only_too() {
    let first = run(TREE);
    let changed = TREE.replace("install postgresql", "install postgresql-17");
    let args = |name| ["plan", "script.lua", "--only", name];
    first
        .again()
        .script(&changed)
        .args(args("mariadb"))
        .stdout("base: cached\n  |\n  +- updated: cached\n      |\n      +- mariadb: cached\n")
        .run();
    first.again().script(&changed).args(args("postgresql")).status(2).any_stdout().run();
}

#[test]
fn a_script_continues_with_what_is_left_alone() {
    Test::new()
        .script(
            r#"
            local image = require "images.tiny" {}
            local one, two = machine("one", { image = image }), machine("two", { image = image })
            one:root("a")
            local b = two:root("b")
            local c = b:branch("c", function(guest) guest:run "c" end)
            print(b, c.name, c.comment, #c:children(), two:find("c"), two:state(), #two:snapshots())
            two:start()
            c:revert()
            "#,
        )
        .args(["run", "script.lua", "--only", "a"])
        .stdout("two/b\tc\t\t0\ttwo/c\tshutoff\t0\n")
        .stderr(
            "
            one/a: building, because it does not exist yet.
            one/a: built in [TIME].
            no start of two, which --only leaves alone.
            no revert of two/c, which --only leaves alone.
            one:
            a (current)
            ",
        )
        .run();
}

#[test]
fn a_node_that_no_script_makes_is_refused_before_anything_is_built() {
    for (args, error) in [
        (
            ["run", "--only", "mariadbb"],
            "error: --only mariadbb: the script makes no such node\nhint: did you mean `mariadb`?\n",
        ),
        (
            ["run", "--rebuild", "xyz"],
            "error: --rebuild xyz: the script makes no such node\nhint: `snaptree plan SCRIPT` lists the nodes\n",
        ),
        (
            ["plan", "--only", "lab/bas"],
            "error: --only lab/bas: the script makes no such node\nhint: did you mean `lab/base`?\n",
        ),
    ] {
        let ran = Test::new().script(TREE).args(args).args(["script.lua"]).status(2).stderr(error).run();
        assert!(ran.domains().is_empty());
    }
}

#[test]
fn frozen_runs_when_everything_is_cached() {
    let first = run(TREE);
    let again = first.again().args(["run", "script.lua", "--frozen"]).any_stderr().run();
    assert!(again.stderr.starts_with("base: cached.\n"), "{}", again.stderr);
}

#[test]
fn frozen_fails_with_the_plan_and_builds_nothing() {
    let first = run(TREE);
    let started = first.started();
    let frozen = first
        .again()
        .script(&TREE.replace("port=3306", "port=3307"))
        .args(["run", "script.lua", "--frozen"])
        .status(1)
        .stderr(
            "
            base: cached
              |
              +- updated: cached
                  |
                  +- mariadb: stale (because: operation 2 of mariadb: file /etc/my.cnf changed: 8209.. -> 114d..)
                  +- postgresql: cached
            error: something would be built
            hint: --frozen allows no build
            ",
        )
        .run();
    assert_eq!(frozen.started(), started);
    let others = first.again().args(["run", "script.lua", "--frozen", "--only", "postgresql"]).any_stderr().run();
    assert!(others.stderr.contains("postgresql: cached."), "{}", others.stderr);
}

#[test]
fn frozen_builds_nothing_even_where_the_plan_could_not_know() {
    let script = "
        local vm = machine('lab', { image = require 'images.tiny' {} })
        local base = vm:root('base')
        if vm:find('child') then vm:find('child'):delete() end
        base:branch('child', function(guest) guest:run 'true' end)
    ";
    run(&script.replace("if vm:find('child')", "if false"))
        .again()
        .script(script)
        .args(["run", "script.lua", "--frozen"])
        .status(1)
        .stderr(
            "
            base: cached.
            error: script.lua:4: `child` would be built, because it does not exist yet
            hint: --frozen allows no build
            ",
        )
        .run();
}

#[test]
fn what_is_named_twice_in_a_loop_says_so() {
    Test::new()
        .script(
            r#"
            local root = machine("lab", { image = require "images.tiny" {} }):root("base")
            for _, v in ipairs { "10.6", "10.11" } do
              root:branch("mariadb", function(guest) guest:run("install " .. v) end)
            end
            "#,
        )
        .args(["plan", "script.lua"])
        .status(1)
        .stderr(
            "
            error: script.lua:3: snapshot `mariadb` of `lab` is declared twice, both times at script.lua:3
            hint: in a loop every round needs a name of its own, such as \"NAME-\" .. value
            ",
        )
        .run();
}

#[test]
fn a_loop_is_a_matrix() {
    let script = r#"
        local root = machine("lab", { image = require "images.tiny" {} }):root("base")
        for _, os in ipairs { "a", "b" } do
          local node = root:branch("os-" .. os, function(guest) guest:run("os " .. os) end)
          local steps = {}
          for _, v in ipairs { "10.6", "10.11" } do
            steps["mariadb-" .. v .. "-" .. os] = function(guest) guest:run("install " .. v) end
          end
          node:branches(steps)
        end
    "#;
    let first = run(script);
    assert_eq!(first.executed().len(), 6);
    plan(
        &first,
        script,
        0,
        "
        base: cached
          |
          +- os-a: cached
          |   |
          |   +- mariadb-10.11-a: cached
          |   +- mariadb-10.6-a: cached
          |
          +- os-b: cached
              |
              +- mariadb-10.11-b: cached
              +- mariadb-10.6-b: cached
        ",
    );
    plan(&run(TREE), TREE, 0, CACHED);
}

#[test]
fn a_root_that_is_asked_for_is_built_with_all_that_depends_on_it() {
    let first = run(TREE);
    let rebuilt = first.again().args(["run", "script.lua", "--rebuild", "lab/base"]).any_stderr().run();
    let lines: Vec<&str> = rebuilt.stderr.lines().filter(|line| line.contains("building, because")).collect();
    assert_eq!(
        lines[..2],
        ["base: building, because --rebuild asks for it.", "updated: building, because its parent `base` was rebuilt.",]
    );
    assert_eq!(lines.len(), 4);
    plan(&rebuilt, TREE, 0, CACHED);
}

#[test]
fn a_run_continues_when_only_its_plan_fails() {
    let script = r#"
        local vm = machine("lab", { image = require "images.tiny" {} })
        vm:root("base"):branch("child", function(guest) guest:run "true" end)
        vm:start()
        assert(vm:guest():run("echo hi").stdout ~= "", "no guest")
        vm:destroy()
        vm:find("base"):branch("late", function(guest) guest:run "true" end)
    "#;
    let answers = serde_json::json!([{ "command": "echo hi", "stdout": "hi" }]);
    let test = || Test::new().answers(answers.clone()).script(script);
    let ran = test().args(["run", "script.lua", "--only", "child"]).any_stderr().run();
    assert_eq!(ran.started().len(), 2, "the builder and the machine");
    let error = "
        error: script.lua:4: no guest
        hint: a plan runs nothing: the results of its guests are empty
    ";
    test().args(["run", "script.lua", "--only", "late"]).status(1).stderr(error).run();
    ran.again().args(["plan", "script.lua"]).status(1).stderr(error).run();
}
