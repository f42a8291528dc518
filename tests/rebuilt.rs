//! A rebuilt node has another disk, even with the same key: nothing that depends on the old one counts.

use serde_json::{Value, json};

use crate::support::{Ran, Test};

const SCRIPT: &str = r#"
    local vm = machine("lab", { image = require "images.tiny" {} })
    local updated = vm:root("base"):branch("updated", function(guest) guest:run "update" end)
    updated:branch("child", function(guest)
      guest:run "one"
      guest:run "two"
    end):branch("grandchild", function(guest) guest:run "three" end)
"#;

const CACHED: &str = "
    base: cached
      |
      +- updated: cached
          |
          +- child: cached
              |
              +- grandchild: cached
";

const ALL_BUT_BASE: [&str; 4] = ["update", "one", "two", "three"];

fn first(script: &str) -> Ran {
    Test::new().script(script).args(["run", "script.lua"]).any_stderr().run()
}

/// Runs a script where something was run before; returns what it executed.
#[track_caller]
fn rerun(before: &Ran, script: &str, more: &[&str]) -> Vec<String> {
    let known = before.executed().len();
    let ran = before.again().script(script).args(["run", "script.lua"]).args(more.iter().copied()).any_stderr().run();
    ran.executed().split_off(known)
}

#[track_caller]
fn plan(ran: &Ran, script: &str, status: i32, stdout: &str) {
    ran.again().script(script).args(["plan", "script.lua"]).status(status).stdout(stdout).run();
}

/// Changes the metadata of every node that has some, in the fake hypervisor's own file.
fn tamper(ran: &Ran, change: impl Fn(&mut Value)) {
    let mut state = ran.state();
    let snapshots = state["domains"]["lab"]["snapshots"].as_object_mut().expect("a tree");
    snapshots.values_mut().for_each(|node| change(&mut node["document"]["metadata"]["attributes"]));
    std::fs::write(ran.path().join("state.json"), state.to_string()).expect("cannot write the state");
}

#[test]
fn what_depends_on_it_is_stale_in_every_run_after() {
    let ran = first(SCRIPT);
    for (node, plan_after, executed) in [
        (
            "base",
            "
            base: cached
              |
              +- updated: stale (because: its parent `base` was rebuilt)
                  |
                  +- child: stale (parent updated is stale)
                      |
                      +- grandchild: stale (parent child is stale)
            ",
            &ALL_BUT_BASE[..],
        ),
        (
            "child",
            "
            base: cached
              |
              +- updated: cached
                  |
                  +- child: cached
                      |
                      +- grandchild: stale (because: its parent `child` was rebuilt)
            ",
            &ALL_BUT_BASE[3..],
        ),
    ] {
        rerun(&ran, SCRIPT, &["--rebuild", node, "--only", node]);
        plan(&ran, SCRIPT, 2, plan_after);
        assert_eq!(rerun(&ran, SCRIPT, &[]), executed);
        plan(&ran, SCRIPT, 0, CACHED);
    }
}

#[test]
fn a_superseded_node_on_the_old_one_is_not_revived() {
    let ran = first(SCRIPT);
    let other = SCRIPT.replace("one", "1");
    rerun(&ran, &other, &[]);
    assert_eq!(rerun(&ran, SCRIPT, &["--rebuild", "updated", "--only", "updated"]), ["update"]);
    plan(
        &ran,
        SCRIPT,
        2,
        "
        base: cached
          |
          +- updated: cached
              |
              +- child: stale (because: its parent `updated` was rebuilt)
                  |
                  +- grandchild: stale (parent child is stale)
        ",
    );
    assert_eq!(rerun(&ran, SCRIPT, &[]), ALL_BUT_BASE[1..]);
    assert_eq!(rerun(&ran, &other, &[]), ["1", "two", "three"]);
    // Those are superseded ones on the present parent.
    assert_eq!(rerun(&ran, SCRIPT, &[]), Vec::<String>::new());
}

#[test]
fn what_was_done_on_the_old_one_is_not_gone_on_from() {
    let answers = |status: i32| json!([{ "command": "two", "status": status }]);
    let test = Test::new().env("SNAPTREE_CHECKPOINT_AFTER", "0s").answers(answers(1));
    let ran = test.script(SCRIPT).args(["run", "script.lua"]).status(1).any_stderr().run();
    rerun(&ran, SCRIPT, &["--rebuild", "updated", "--only", "updated"]);
    let fixed = SCRIPT.replace("two", "2");
    assert_eq!(rerun(&ran, &fixed, &["--only", "child"]), ["one", "2"], "of the failed try nothing is left");

    rerun(&ran, &fixed, &["--rebuild", "updated", "--only", "updated"]);
    let edited = fixed.replace("\"2\"", "\"3\"");
    assert_eq!(rerun(&ran, &edited, &["--only", "child"]), ["one", "3"], "nor of the last build");
    assert_eq!(rerun(&ran, &edited.replace("\"3\"", "\"4\""), &["--only", "child"]), ["4"]);
}

#[test]
fn a_machine_that_is_changed_back_gets_its_tree_back() {
    let ran = first(SCRIPT);
    let other = SCRIPT.replace("tiny\" {}", "tiny\" {}, cpus = 2");
    assert_eq!(rerun(&ran, &other, &[]), ALL_BUT_BASE);
    assert_eq!(rerun(&ran, SCRIPT, &[]), Vec::<String>::new());
    assert_eq!(rerun(&ran, &other, &[]), Vec::<String>::new());
    assert_eq!(rerun(&ran, &other, &["--rebuild", "base", "--only", "base"]), Vec::<String>::new());
    assert_eq!(rerun(&ran, SCRIPT, &[]), Vec::<String>::new());
    assert_eq!(rerun(&ran, &other, &[]), ALL_BUT_BASE, "the rebuilt root is the one that came back");
}

#[test]
fn what_stood_on_a_deleted_node_stays_and_is_put_back() {
    for deleted in ["base", "updated"] {
        let ran = first(SCRIPT);
        ran.again().args(["delete", &format!("lab/{deleted}"), "--yes"]).any_stderr().run();
        let executed: &[&str] = if deleted == "base" { &[] } else { &["update"] };
        assert_eq!(rerun(&ran, SCRIPT, &[]), executed, "{deleted}");
        plan(&ran, SCRIPT, 0, CACHED);
    }
    let ran = first(SCRIPT);
    ran.again().args(["delete", "lab/updated", "--yes"]).any_stderr().run();
    ran.again().args(["undo", "lab", "--yes"]).any_stderr().run();
    plan(&ran, SCRIPT, 0, CACHED);
}

#[test]
fn records_from_before_builds_were_told_apart_count_until_something_is_rebuilt() {
    let ran = first(SCRIPT);
    tamper(&ran, |attributes| {
        let attributes = attributes.as_object_mut().expect("attributes");
        assert!(attributes.remove("build").is_some());
        attributes.remove("parent-build");
    });
    plan(&ran, SCRIPT, 0, CACHED);
    // What is built on such a node knows as little of it.
    let edited = SCRIPT.replace("three", "3");
    assert_eq!(rerun(&ran, &edited, &[]), ["3"]);
    assert_eq!(rerun(&ran, &edited, &["--rebuild", "child", "--only", "child"]), ["one", "two"]);
    assert_eq!(rerun(&ran, &edited, &[]), ["3"]);
    assert_eq!(rerun(&ran, &edited, &["--rebuild", "base", "--only", "base"]), Vec::<String>::new());
    assert_eq!(rerun(&ran, &edited, &[]), ["update", "one", "two", "3"]);
    plan(&ran, &edited, 0, CACHED);
}
