//! Resuming from checkpoints: what a changed or failed step need not do again.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use serde_json::json;

use crate::support::{Ran, Test};

const SCRIPT: &str = r#"
    local vm = machine("lab", { image = require "images.tiny" {} })
    vm:root("base"):branch("child", function(guest)
      guest:run "one"
      guest:write("/etc/two", "2")
      guest:run "three"
      guest:run "four"
    end)
"#;

/// Runs a script that takes a checkpoint after each operation; `three` fails.
fn failed(script: &str) -> Ran {
    let answers = json!([{ "command": "three", "status": 1 }]);
    let test = Test::new().env("SNAPTREE_CHECKPOINT_AFTER", "0s").answers(answers);
    test.script(script).args(["run", "script.lua"]).status(1).any_stderr().run()
}

fn built(script: &str) -> Ran {
    let test = Test::new().env("SNAPTREE_CHECKPOINT_AFTER", "0s");
    test.script(script).args(["run", "script.lua"]).any_stderr().run()
}

/// Runs the script where something was run before; returns the line about resuming, and what it executed.
fn rerun(before: &Ran, script: &str, status: i32) -> (Option<String>, Vec<String>) {
    let known = before.executed().len();
    let ran = before.again().script(script).args(["run", "script.lua"]).status(status).any_stderr().run();
    let said = ran.stderr.lines().find(|line| line.contains("resuming from")).map(str::to_string);
    (said, ran.executed().split_off(known))
}

fn is_resumed(operation: usize, of: &str) -> Option<String> {
    Some(format!("child: resuming from operation {operation} of the {of}."))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

fn key_of(ran: &Ran) -> String {
    let tree = ran.again().args(["tree", "lab", "--format", "json"]).any_stdout().run().stdout;
    let tree: serde_json::Value = serde_json::from_str(&tree).unwrap();
    tree[0]["snapshots"][1]["key"].as_str().unwrap().to_string()
}

/// Lists the layers of the branch that are in the store.
fn layers(ran: &Ran) -> usize {
    let machines = std::fs::read_dir(ran.path().join("store/machines")).unwrap().flatten();
    let files = machines.flat_map(|machine| std::fs::read_dir(machine.path()).unwrap().flatten());
    let is_layer = |name: &str| name.starts_with("child-") && name.ends_with(".qcow2");
    files.filter(|file| is_layer(&file.file_name().to_string_lossy())).count()
}

#[test]
fn after_a_fix_only_what_is_missing_is_done() {
    let failed = failed(SCRIPT);
    assert_eq!(failed.executed(), ["one", "three"]);
    let fixed = SCRIPT.replace("three", "three properly");
    assert_eq!(rerun(&failed, &fixed, 0), (is_resumed(2, "failed try"), words(&["three properly", "four"])));
    // What was written before is there, and nothing distinguishes the node from one that was built in one go.
    failed.again().args(["exec", "lab/child", "--", "cat", "/etc/two"]).stdout("2").run();
    assert_eq!(key_of(&failed), key_of(&built(&fixed)));
    let log = failed.again().args(["log", "lab/child"]).any_stdout().run().stdout;
    assert!(log.starts_with("1: run \"one\": ") && log.contains("4: run \"four\": "), "{log}");
    assert_eq!(rerun(&failed, &fixed, 0), (None, Vec::new()));
}

#[test]
fn the_run_says_where_it_resumes() {
    let failed = failed(SCRIPT);
    failed
        .again()
        .answers(json!([]))
        .args(["run", "script.lua"])
        .stderr(
            r#"
            base: cached.
            child: building, because it does not exist yet.
            child: resuming from operation 2 of the failed try.
            child: resumed in [TIME].
            child: 3: run "three"
            child: 3: done in [TIME].
            child: 4: run "four"
            child: 4: done in [TIME].
            child: built in [TIME].
            base (current)
              |
              +- child
            "#,
        )
        .run();
}

#[test]
fn the_edited_tail_of_a_step_that_succeeded_is_all_that_is_done() {
    let built = built(SCRIPT);
    let edited = SCRIPT.replace("four", "five");
    assert_eq!(rerun(&built, &edited, 0), (is_resumed(3, "last build"), words(&["five"])));
    // An addition at the end resumes from the whole.
    let longer = edited.replace("end)", "guest:run \"six\" end)");
    assert_eq!(rerun(&built, &longer, 0), (is_resumed(4, "last build"), words(&["six"])));
    // A shorter step resumes from what was there before the rest.
    let shorter = edited.replace("guest:run \"five\"", "");
    assert_eq!(rerun(&built, &shorter, 0), (is_resumed(3, "last build"), Vec::new()));
    built.again().args(["exec", "lab/child", "--", "cat", "/etc/two"]).stdout("2").run();
}

#[test]
fn a_changed_beginning_is_done_from_the_beginning() {
    let failed = failed(SCRIPT);
    let changed = SCRIPT.replace("one", "1").replace("three", "3");
    assert_eq!(rerun(&failed, &changed, 0), (None, words(&["1", "3", "four"])));
    let built = built(SCRIPT);
    assert_eq!(rerun(&built, &changed, 0), (None, words(&["1", "3", "four"])));
    // A changed parent is another beginning.
    let on_another = SCRIPT.replace(r#"root("base")"#, r#"root("base"):branch("middle", function(guest) end)"#);
    let all = words(&["one", "three", "four"]);
    assert_eq!(rerun(&built, &on_another, 0), (None, all));
}

#[test]
fn a_branch_can_want_to_begin_at_the_beginning() {
    let failed = failed(SCRIPT);
    let fixed = SCRIPT.replace("three", "3").replace("end)", "end, { resume = false })");
    assert_eq!(rerun(&failed, &fixed, 0), (None, words(&["one", "3", "four"])));
}

#[test]
fn a_try_that_went_on_in_vain_is_not_gone_on_from_again() {
    let failed = failed(SCRIPT);
    assert_eq!(rerun(&failed, SCRIPT, 1), (is_resumed(2, "failed try"), words(&["three"])));
    // What failed may have wanted something that a reboot takes away.
    assert_eq!(rerun(&failed, SCRIPT, 1), (None, words(&["one", "three"])));
    // With a change it is another matter.
    assert_eq!(rerun(&failed, SCRIPT, 1), (is_resumed(2, "failed try"), words(&["three"])));
    let fixed = SCRIPT.replace("three", "3");
    assert_eq!(rerun(&failed, &fixed, 0), (is_resumed(2, "failed try"), words(&["3", "four"])));
}

#[test]
fn what_a_failed_operation_may_have_changed_is_not_stood_on() {
    // Without checkpoints only the state at the failure is left, and `three` was half done in it.
    let slow = |test: Test| test.env("SNAPTREE_CHECKPOINT_AFTER", "1h");
    let answers = json!([{ "command": "three", "status": 1 }]);
    let failed = slow(Test::new()).answers(answers).script(SCRIPT).args(["run", "script.lua"]).status(1);
    let failed = failed.any_stderr().run();
    let fixed = SCRIPT.replace("three", "3");
    assert_eq!(rerun(&failed, &fixed, 0), (None, words(&["one", "3", "four"])));

    // A wait changes nothing, and neither does an error of the script's own.
    for (raised, fixed) in [(r#"guest:read "/nosuch""#, r#"guest:read "/etc/two""#), (r#"error("why")"#, "")] {
        let script = SCRIPT.replace(r#"guest:run "three""#, raised);
        let failed = slow(Test::new()).script(&script).args(["run", "script.lua"]).status(1).any_stderr().run();
        let fixed = script.replace(raised, fixed);
        assert_eq!(rerun(&failed, &fixed, 0), (is_resumed(2, "failed try"), words(&["four"])));
    }

    // A failure that the script caught is in no journal.
    let caught =
        SCRIPT.replace(r#"guest:run "four""#, r#"pcall(guest.run, guest, "false") guest:run "4" error("why")"#);
    let failed = built(&SCRIPT.replace("child", "other"));
    rerun(&failed, &caught, 1);
    let without = SCRIPT.replace("four", "4");
    assert_eq!(rerun(&failed, &without, 0), (is_resumed(3, "failed try"), words(&["4"])));
}

#[test]
fn an_error_by_recorded_answers_alone_is_looked_at_again() {
    let script = SCRIPT.replace(
        r#"guest:run "three""#,
        r#"if not guest:run("three", { check = false }).ok then error("it is not there") end"#,
    );
    let failed = failed(&script);
    assert_eq!(rerun(&failed, &script, 1), (None, words(&["one", "three"])));
}

#[test]
fn checkpoints_are_few_and_collected() {
    let many = SCRIPT.replace("guest:run \"four\"", "for n = 4, 9 do guest:run(\"echo \" .. n) end error('why')");
    let ran = Test::new().env("SNAPTREE_CHECKPOINT_AFTER", "0s").script(&many).args(["run", "script.lua"]).status(1);
    let ran = ran.any_stderr().run();
    let failed = std::fs::read_dir(ran.path().join("store/machines")).unwrap().flatten().next().unwrap().path();
    let failed = std::fs::read_dir(failed.join("failed")).unwrap().flatten().next().unwrap().path();
    let failed: serde_json::Value = serde_json::from_slice(&std::fs::read(failed).unwrap()).unwrap();
    let numbers: Vec<u64> =
        failed["checkpoints"].as_array().unwrap().iter().map(|it| it["operations"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [6, 7, 8, 9]);

    rerun(&ran, &many.replace("error('why')", ""), 0);
    assert_eq!(layers(&ran), 10, "each checkpoint is below the node");
    let gc = ran.again().args(["gc", "lab"]).status(2);
    gc.stderr(
        "error: this would delete the checkpoints of 1 branch of `lab`\nhint: pass --yes to skip the confirmation\n",
    )
    .run();
    ran.again().args(["gc", "lab", "--yes"]).any_stderr().run();
    ran.again().args(["gc", "lab"]).stderr("There is nothing to delete.\n").run();
    ran.again().args(["exec", "lab/child", "--", "cat", "/etc/two"]).stdout("2").run();
    ran.again().args(["delete", "lab/child", "--yes"]).any_stderr().run();
    ran.again().args(["gc", "lab", "--yes"]).any_stderr().run();
    assert_eq!(layers(&ran), 0);
}

#[test]
fn no_chain_gets_too_deep_for_checkpoints() {
    let many = SCRIPT.replace("guest:run \"four\"", "for n = 4, 40 do guest:run(\"echo \" .. n) end");
    let ran = built(&many);
    let info = ran.again().args(["info", "lab/child", "--json"]).any_stdout().run().stdout;
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["disks"][0]["chain"].as_array().unwrap().len(), 16);
    assert_eq!(rerun(&ran, &many.replace("4, 40", "4, 41"), 0).1.len(), 27, "from the last checkpoint with room");
}

#[test]
fn an_interrupt_takes_the_checkpoints_along() {
    let script = SCRIPT.replace("four", "sleep 60");
    let test = Test::new().env("SNAPTREE_CHECKPOINT_AFTER", "0s").script(&script).args(["run", "script.lua"]);
    let sleeps = |state: &serde_json::Value| {
        let executed = state["executed"].as_array().cloned().unwrap_or_default();
        executed.iter().any(|entry| entry["command"] == "sleep 60")
    };
    let ran = test.status(130).any_stderr().start().wait_for_state(sleeps).signal("INT").finish();
    assert_eq!(layers(&ran), 0);
}

#[test]
fn a_step_that_goes_another_way_the_second_time_is_done_from_its_beginning() {
    let script = r#"
        local calls = 0
        local vm = machine("lab", { image = require "images.tiny" {} })
        vm:root("base"):branch("child", function(guest)
          calls = calls + 1
          guest:run "one"
          guest:run(calls == 2 and "odd" or "two")
          guest:run "three"
        end)
    "#;
    // The first call compares, the second resumes, the third is the one that counts.
    let failed = failed(script);
    let fixed = script.replace("three", "3");
    assert_eq!(rerun(&failed, &fixed, 0), (is_resumed(2, "failed try"), words(&["one", "two", "3"])));
}

#[test]
fn a_wrong_time_in_the_environment_is_refused() {
    Test::new()
        .env("SNAPTREE_CHECKPOINT_AFTER", "soon")
        .args(["list"])
        .status(2)
        .stderr("error: SNAPTREE_CHECKPOINT_AFTER must be a time, such as 10s: expected number at 0\n")
        .run();
}

#[test]
fn what_is_asked_for_starts_over_and_so_does_what_depends_on_it() {
    let failed = failed(SCRIPT);
    let fixed = SCRIPT.replace("three", "three properly");
    let rebuild = |ran: &Ran, script: &str, node: &str| {
        let known = ran.executed().len();
        let args = ["run", "script.lua", "--rebuild", node];
        let again = ran.again().script(script).args(args).any_stderr().run();
        assert!(!again.stderr.contains("resuming from"), "{}", again.stderr);
        again.executed().split_off(known)
    };
    assert_eq!(rebuild(&failed, &fixed, "child"), ["one", "three properly", "four"]);
    // The key of the root is what it was, and its disk is not.
    let edited = fixed.replace("four", "five");
    assert_eq!(rebuild(&failed, &edited, "base"), ["one", "three properly", "five"]);
}
