//! The branch options `inputs` and `max_age`: what a node has to be apart from what its step does.

use serde_json::{Value, json};

use crate::support::{Ran, Test};

const DAY: u64 = 24 * 60 * 60;

fn script(options: &str) -> String {
    format!(
        r#"
        local vm = machine("lab", {{ image = require "images.tiny" {{}} }})
        vm:root("base"):branch("child", function(guest)
          guest:run "one"
          guest:run "two"
        end, {{ {options} }})
        "#
    )
}

fn first(options: &str) -> Ran {
    Test::new().script(&script(options)).args(["run", "script.lua"]).any_stderr().run()
}

/// Runs the script where something was run before; returns what it executed.
#[track_caller]
fn rerun(before: &Ran, options: &str) -> Vec<String> {
    let known = before.executed().len();
    let ran = before.again().script(&script(options)).args(["run", "script.lua"]).any_stderr().run();
    ran.executed().split_off(known)
}

/// Returns what a plan says about the branch.
fn standing(ran: &Ran, options: &str) -> String {
    let test = ran.again().script(&script(options)).args(["plan", "script.lua"]);
    let planned = test.any_status().any_stdout().run().stdout;
    planned.lines().last().expect("a plan").replace("  +- ", "")
}

const NOTHING: [&str; 0] = [];
const ALL: [&str; 2] = ["one", "two"];

/// Makes the branch that is in the tree as old as this, in the fake hypervisor's own file.
fn age(ran: &Ran, seconds: u64) {
    let mut state = ran.state();
    let created = &mut state["domains"]["lab"]["snapshots"]["child"]["created"];
    *created = json!(created.as_u64().expect("a time") - seconds);
    std::fs::write(ran.path().join("state.json"), state.to_string()).expect("cannot write the state");
}

#[test]
fn an_input_that_differs_is_named() {
    let long = |end: &str| format!("inputs = {{ schema = ('x'):rep(60) .. '{end}' }}");
    for (was, now, reason) in [
        ("inputs = { schema = '3' }", "inputs = { schema = '4' }", r#"input "schema" was "3", is now "4""#),
        ("inputs = { schema = '3' }", "inputs = { schema = 3 }", r#"input "schema" was "3", is now 3"#),
        ("inputs = { a = 0.5 }", "inputs = { a = false }", r#"input "a" was 0.5, is now false"#),
        ("", "inputs = { x = 1 }", r#"input "x" is new"#),
        ("inputs = { x = 1 }", "", r#"input "x" is gone"#),
        (
            "inputs = { x = 1, y = 2 }",
            "inputs = { y = 3, z = 4 }",
            r#"input "x" is gone, input "y" was 2, is now 3, input "z" is new"#,
        ),
        ("inputs = { 'a', 'b' }", "inputs = { 'a', 'c' }", r#"input "2" was "b", is now "c""#),
        (&long("1"), &long("2"), r#"input "schema" changed: d56c.. -> 9fad.."#),
    ] {
        let ran = first(was);
        assert_eq!(standing(&ran, now), format!("child: stale (because: {reason})"));
        assert_eq!(rerun(&ran, now), ALL, "with other inputs nothing is resumed");
        assert_eq!(standing(&ran, now), "child: cached");
        assert_eq!(rerun(&ran, was), NOTHING, "the superseded one is the one with these inputs");
    }
}

#[test]
fn inputs_are_known_by_their_values_and_shown() {
    let ran = first("inputs = { b = '2', a = 1 }");
    assert_eq!(rerun(&ran, "inputs = { a = 1, b = 1 + 1 .. '' }"), NOTHING);
    let log = ran.again().args(["log", "lab/child"]).any_stdout().run().stdout;
    assert!(log.starts_with("input \"a\": 1\ninput \"b\": \"2\"\n1: run \"one\": "), "{log}");
    let key = |ran: &Ran| {
        let tree = ran.again().args(["tree", "lab", "--format", "json"]).any_stdout().run().stdout;
        serde_json::from_str::<Value>(&tree).expect("JSON")[0]["snapshots"][1]["key"].clone()
    };
    assert_ne!(key(&ran), key(&first("")));
    assert_eq!(key(&first("inputs = {}")), key(&first("")));
}

#[test]
fn a_snapshot_that_is_too_old_is_rebuilt() {
    let ran = first("max_age = '7d'");
    age(&ran, 7 * DAY - 60);
    assert_eq!(standing(&ran, "max_age = '7d'"), "child: cached");
    assert_eq!(standing(&ran, ""), "child: cached");
    age(&ran, DAY);
    let stale = |why: &str| format!("child: stale (because: it is {why})");
    assert_eq!(standing(&ran, ""), "child: cached");
    assert_eq!(standing(&ran, "max_age = '2w'"), "child: cached");
    assert_eq!(standing(&ran, "max_age = '36h'"), stale("191 hours old, its max_age is 36 hours"));
    assert_eq!(standing(&ran, "max_age = 86400"), stale("7 days old, its max_age is 1 day"));
    assert_eq!(standing(&ran, "max_age = '7d'"), stale("7 days old, its max_age is 7 days"));
    assert_eq!(rerun(&ran, "max_age = '7d'"), ALL, "the old one is not resumed");
    assert_eq!(standing(&ran, "max_age = 60"), "child: cached");
}

#[test]
fn a_superseded_snapshot_that_is_too_old_is_not_revived() {
    let ran = first("inputs = { v = 1 }");
    age(&ran, 2 * DAY);
    assert_eq!(rerun(&ran, "inputs = { v = 2 }"), ALL);
    assert_eq!(standing(&ran, "inputs = { v = 1 }, max_age = '3d'"), "child: cached (kept aside)");
    let old = standing(&ran, "inputs = { v = 1 }, max_age = '2d'");
    assert_eq!(old, r#"child: stale (because: input "v" was 2, is now 1)"#);
    assert_eq!(rerun(&ran, "inputs = { v = 1 }, max_age = '2d'"), ALL);
}

/// Runs the script so that `two` fails once, with a checkpoint before it.
fn failed(options: &str) -> Ran {
    let test = Test::new().env("SNAPTREE_CHECKPOINT_AFTER", "0s");
    let failing = test.answers(json!([{ "command": "two", "status": 1 }]));
    let ran = failing.script(&script(options)).args(["run", "script.lua"]).status(1).any_stderr().run();
    ran.again().answers(json!([])).args(["list"]).any_stdout().run()
}

/// Changes what is kept of the failed step, in its file.
fn tamper(ran: &Ran, change: impl FnOnce(&mut Value)) {
    let machine = std::fs::read_dir(ran.path().join("store/machines")).expect("a store").flatten().next();
    let failed = machine.expect("a machine").path().join("failed");
    let file = std::fs::read_dir(failed).expect("failures").flatten().next().expect("a failure").path();
    let mut failed = serde_json::from_slice(&std::fs::read(&file).expect("a file")).expect("JSON");
    change(&mut failed);
    std::fs::write(file, failed.to_string()).expect("cannot write");
}

#[test]
fn a_try_with_other_inputs_is_not_gone_on_from() {
    assert_eq!(rerun(&failed("inputs = { v = 1 }"), "inputs = { v = 1 }"), ["two"]);
    assert_eq!(rerun(&failed("inputs = { v = 1 }"), "inputs = { v = 2 }"), ALL);
    assert_eq!(rerun(&failed("inputs = { v = 1 }"), ""), ALL);
}

#[test]
fn a_try_that_is_too_old_is_not_gone_on_from() {
    assert_eq!(rerun(&failed(""), "max_age = '7d'"), ["two"]);
    let old = || {
        let ran = failed("");
        tamper(&ran, |failed| failed["journal"]["begun"] = json!(failed["when"].as_u64().expect("a time") - 8 * DAY));
        ran
    };
    assert_eq!(rerun(&old(), "max_age = '7d'"), ALL);
    assert_eq!(rerun(&old(), ""), ["two"]);
    // What was resumed from it is as old as that.
    let ran = old();
    assert_eq!(rerun(&ran, "max_age = '9d'"), ["two"]);
    let stale = "child: stale (because: it is 8 days old, its max_age is 8 days)";
    assert_eq!(standing(&ran, "max_age = '8d'"), stale);
    assert_eq!(standing(&ran, "max_age = '9d'"), "child: cached");
}

#[test]
fn wrong_values_are_refused_and_nothing_is_changed() {
    let ran = first("");
    let before = ran.state();
    let inputs = "`inputs` must be a table of names and values, such as { schema = 4 }, not";
    let max_age = "`max_age` must be a time such as \"90s\" or \"10m\", or a number of seconds, not";
    for (options, error) in [
        ("inputs = 'schema'", format!("{inputs} \"schema\"")),
        ("inputs = { [true] = 1 }", format!("{inputs} true")),
        ("inputs = { schema = {} }", "`inputs.schema` must be a string, a number, true or false, not a table".into()),
        ("inputs = { x = print }", "`inputs.x` must be a string, a number, true or false, not a function".into()),
        ("inputs = { x = 0/0 }", "`inputs.x` must be a string, a number, true or false, not NaN".into()),
        ("max_age = '7 parsecs'", format!("{max_age} \"7 parsecs\"")),
        ("max_age = -1", format!("{max_age} -1")),
        ("max_age = 0", format!("{max_age} 0")),
        ("max_age = {}", format!("{max_age} a table")),
    ] {
        let test = ran.again().script(&script(options)).args(["run", "script.lua"]).status(1);
        test.stderr(&format!("base: cached.\nerror: script.lua:2: snapshot:branch: {error}\n")).run();
    }
    let unknown = ran.again().script(&script("max_aeg = '7d'")).args(["run", "script.lua"]).status(1);
    let error = "snapshot:branch: unknown option `max_aeg`\nhint: did you mean `max_age`?";
    unknown.stderr(&format!("base: cached.\nerror: script.lua:2: {error}\n")).run();
    assert_eq!(ran.state(), before);
}
