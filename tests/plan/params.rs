//! `param` and `--set`.

use super::{plan, run};
use crate::support::{Ran, Test};

#[test]
fn the_default_says_what_a_parameter_is() {
    let script = r#"
        print(param("text", "a"), param("whole", 1), param("number", 1.5), param("truth", false), param "required")
        print(math.type(param("whole", 1)), math.type(param("number", 1.5)), type(param("truth", false)))
    "#;
    let with = |set: &[&str]| {
        let set = set.iter().flat_map(|set| ["--set", set]);
        Test::new().script(script).args(["run"]).args(set).args(["script.lua"])
    };
    with(&["required=r"]).stdout("a\t1\t1.5\tfalse\tr\ninteger\tfloat\tboolean\n").run();
    with(&["required=a=b", "text=", "whole=2", "number=3", "truth=true"])
        .stdout("\t2\t3.0\ttrue\ta=b\ninteger\tfloat\tboolean\n")
        .run();
    for (set, error) in [
        ("whole=x", "--set whole=x: `whole` must be a number\nhint: the script gives it the default 1"),
        ("truth=yes", "--set truth=yes: `truth` must be true or false\nhint: the script gives it the default false"),
    ] {
        with(&["required=r", set]).status(2).stderr(&format!("error: script.lua:1: {error}\n")).run();
    }
}

#[test]
fn a_parameter_without_default_has_to_be_set() {
    Test::new()
        .script("local v = param 'version'")
        .args(["run", "script.lua"])
        .status(2)
        .stderr(
            "
            error: script.lua:1: parameter `version` has no default, and nothing sets it
            hint: --set version=VALUE
            ",
        )
        .run();
}

#[test]
fn a_parameter_has_one_default() {
    Test::new()
        .script("param('v', '1')\nparam('v', '1')\nparam('v', 1)")
        .args(["run", "script.lua"])
        .status(1)
        .stderr(
            "
            error: script.lua:3: parameter `v` has the default \"1\" at script.lua:1 and the default 1 at script.lua:3
            hint: a parameter has one default: read it once, into a local
            ",
        )
        .run();
}

const SCRIPT: &str = r#"
    local vm = machine("lab", { image = require "images.tiny" {} })
    local version = param("version", "10.11")
    vm:root("base"):branch("mariadb", function(guest)
      guest:run("install mariadb=" .. version)
    end):branch("data", function(guest)
      guest:run("load " .. param("rows", 10))
    end)
"#;

#[test]
fn what_nothing_asks_for_is_refused_before_anything_is_built() {
    for (set, error) in [
        ("versoin=1", "error: --set versoin: the script has no such parameter\nhint: did you mean `version`?\n"),
        ("x=1", "error: --set x: the script has no such parameter\nhint: it has: version\n"),
    ] {
        for command in ["run", "plan"] {
            let ran = Test::new().script(SCRIPT).args([command, "--set", set, "script.lua"]).status(2);
            assert!(ran.stderr(error).run().domains().is_empty());
        }
    }
    Test::new()
        .script("")
        .args(["run", "--set", "x=1", "script.lua"])
        .status(2)
        .stderr(
            "error: --set x: the script has no such parameter\nhint: param(\"x\", default) in the script reads it\n",
        )
        .run();
    let wrong = Test::new().script("").args(["run", "--set", "x", "script.lua"]).status(2).any_stderr().run();
    assert!(wrong.stderr.contains("it is NAME=VALUE, such as version=10.11"), "{}", wrong.stderr);
}

#[test]
fn a_step_may_ask_for_a_parameter() {
    let set = ["run", "--set", "rows=20", "script.lua"];
    let ran = Test::new().script(SCRIPT).args(set).any_stderr().run();
    assert_eq!(ran.executed(), ["install mariadb=10.11", "load 20"]);
    ran.again().args(set).any_stderr().run();
    let unused = "if false then param('never', 1) end machine('lab', { image = require 'images.tiny' {} }):root('r')";
    let ran = Test::new().script(unused).args(["run", "--set", "never=2", "script.lua"]).status(2).any_stderr().run();
    assert!(ran.stderr.ends_with(
        "error: --set never: the script has no such parameter\nhint: param(\"never\", default) in the script reads it\n"
    ));
}

#[test]
fn switching_a_parameter_back_and_forth_builds_each_variant_once() {
    let first = run(SCRIPT);
    let with = |ran: &Ran, version: &str, command: &str| {
        ran.again().args([command, "--set", &format!("version={version}"), "script.lua"]).any_stdout().any_stderr()
    };
    with(&first, "10.6", "plan").status(2).run();
    let built = first.started().len();
    let started = with(&first, "10.6", "run").run().started();
    assert_eq!(started.len(), built + 2);
    for version in ["10.11", "10.6", "10.11"] {
        with(&first, version, "plan")
            .stdout(
                "
                base: cached
                  |
                  +- mariadb: cached (kept aside)
                      |
                      +- data: cached (kept aside)
                ",
            )
            .stderr("")
            .run();
        assert_eq!(with(&first, version, "run").run().started(), started);
    }
    plan(&first, SCRIPT, 0, "base: cached\n  |\n  +- mariadb: cached\n      |\n      +- data: cached\n");
}
