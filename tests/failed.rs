//! What is left of a step that failed: kept, shown, entered, and gone once the branch is built.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use serde_json::json;

use crate::support::{Ran, Test};

const SCRIPT: &str = r#"
    local vm = machine("lab", { image = require "images.tiny" {} })
    vm:root("base"):branch("child", function(guest)
      guest:run "prepare"
      guest:write("/etc/conf", "port=1\n")
      guest:run "make"
    end)
"#;

fn answers() -> serde_json::Value {
    json!([{ "command": "make", "status": 2, "stdout": "compiling\n", "stderr": "cc: not found\n" }])
}

fn failed() -> Ran {
    Test::new().answers(answers()).script(SCRIPT).args(["run", "script.lua"]).status(1).any_stderr().run()
}

/// Puts `[DATE]` in the place of the time of a failure.
fn without_date(text: &str) -> String {
    let line = |line: &str| match line.split_once("failed at ") {
        Some((before, after)) => format!("{before}failed at [DATE]{}\n", &after["2026-01-01 00:00:00 +0000".len()..]),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn log(ran: &Ran, args: &[&str]) -> String {
    without_date(&ran.again().args(["log", "lab/child"]).args(args.iter().copied()).any_stdout().run().stdout)
}

fn nothing_is_left(ran: &Ran) {
    ran.again()
        .args(["log", "--failed", "lab/child"])
        .status(1)
        .stderr(
            "
            error: there is no failed `child` in `lab`
            hint: a branch whose step failed is kept until it is built; `run --on-error clean` keeps none
            ",
        )
        .run();
    let info = ran.again().args(["info", "--json", "lab"]).any_stdout().run().stdout;
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["failed"], json!([]));
}

/// Lists the layers in the store by what they are for.
fn layers(ran: &Ran) -> Vec<String> {
    let machines = std::fs::read_dir(ran.path().join("store/machines")).unwrap().flatten();
    let files = machines.flat_map(|machine| std::fs::read_dir(machine.path()).unwrap().flatten());
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    let stem = |name: String| Some(name.strip_suffix(".qcow2")?.rsplitn(3, '-').nth(2)?.to_string());
    let mut layers: Vec<String> = names.filter_map(stem).filter(|name| name != "disk").collect();
    layers.sort();
    layers
}

const FAILED_LOG: &str = r#"failed at [DATE] on `base`: script.lua:5: "make" failed with exit status 2 in `child`
1: run "prepare": [TIME]
    status 0
2: write /etc/conf, 7 bytes (409fc5c8): [TIME]
3: run "make": [TIME], failed
    status 2
    | compiling
    ! cc: not found
"#;

#[test]
fn a_failed_step_is_kept_outside_of_the_tree_and_shown() {
    let failed = failed();
    let (_, said) = failed.stderr.split_once("child: 3: run \"make\"\n").expect(&failed.stderr);
    assert_eq!(
        said,
        r#"child: 3: failed after [TIME].
child: failed; the tree is unchanged.
child: `snaptree log lab/child` shows what it did, `snaptree shell --failed lab/child` looks around.
error: script.lua:5: "make" failed with exit status 2 in `child`
  | compiling
  | cc: not found
"#
    );
    failed.again().args(["tree", "lab"]).stdout("base (current)\n").run();
    assert_eq!(failed.domains(), ["lab"]);
    assert_eq!(log(&failed, &[]), FAILED_LOG);
    assert_eq!(log(&failed, &["--failed"]), FAILED_LOG);
}

#[test]
fn programs_get_all_that_is_known_of_it() {
    let failed = failed();
    let json = |args: &[&str]| -> serde_json::Value {
        serde_json::from_str(&failed.again().args(args.iter().copied()).any_stdout().run().stdout).unwrap()
    };
    let log = json(&["log", "--json", "lab/child"]);
    assert_eq!((&log["name"], &log["operations"]), (&json!("child"), &json!([])));
    let left = &log["failed"];
    assert_eq!(left["parent"], "base");
    assert_eq!(left["operations"][1]["operation"], "write /etc/conf, 7 bytes (409fc5c8)");
    let error = left["error"].as_str().unwrap();
    assert!(error.starts_with("script.lua:5: \"make\" failed with exit status 2 in `child`\n  | compiling"), "{error}");
    let operation = &left["operation"];
    assert_eq!((&operation["number"], &operation["status"]), (&json!(3), &json!(2)));
    assert_eq!(operation["stderr"], "Y2M6IG5vdCBmb3VuZAo=");
    let info = json(&["info", "--json", "lab"]);
    assert_eq!(info["failed"][0]["name"], "child");
    assert_eq!(info["failed"][0]["error"], "script.lua:5: \"make\" failed with exit status 2 in `child`");
    assert_eq!(info["failed"][0]["when"], left["when"]);
    let text = failed.again().args(["info", "lab"]).any_stdout().run().stdout;
    assert!(text.contains("Failed:         child, "), "{text}");
}

#[test]
fn a_fork_of_what_is_left_has_the_files_that_were_written() {
    let failed = failed();
    failed.again().args(["exec", "--failed", "lab/child", "--", "cat", "/etc/conf"]).stdout("port=1\n").run();
    assert_eq!(failed.domains(), ["lab"]);
    failed.again().args(["exec", "--failed", "lab/child", "--", "false"]).status(1).run();
    failed
        .again()
        .args(["exec", "--failed", "lab/chidl", "--", "true"])
        .status(1)
        .stderr("error: there is no failed `chidl` in `lab`\nhint: did you mean `child`?\n")
        .run();
    failed
        .again()
        .args(["exec", "lab/child", "--", "true"])
        .status(1)
        .stderr("error: there is no snapshot `child` in `lab`\nhint: its step failed; `--failed` uses its last state\n")
        .run();
    assert_eq!(layers(&failed), ["base", "child"]);
}

#[test]
fn success_removes_it() {
    let failed = failed();
    failed.again().answers(json!([])).args(["run", "script.lua"]).any_stderr().run();
    nothing_is_left(&failed);
    assert_eq!(failed.again().args(["log", "lab/child"]).any_stdout().run().stdout.lines().count(), 5);
}

#[test]
fn a_branch_that_is_found_again_removes_it() {
    let first = Test::new().script(SCRIPT).args(["run", "script.lua"]).any_stderr().run();
    let layers_of_success = layers(&first);
    let changed = SCRIPT.replace("port=1", "port=2");
    let second = first.again().answers(answers()).script(&changed).args(["run", "script.lua"]).status(1);
    let second = second.any_stderr().run();
    // The one that succeeded is still there, and shown first.
    let shown = log(&second, &[]);
    let (success, failure) = shown.split_once("failed at").expect(&shown);
    assert!(success.contains("write /etc/conf, 7 bytes (409fc5c8)") && success.contains("3: run \"make\""), "{shown}");
    assert!(failure.contains("3: run \"make\": [TIME], failed"), "{shown}");
    assert!(log(&second, &["--failed"]).starts_with("failed at"));

    second.again().script(SCRIPT).args(["run", "script.lua"]).any_stderr().run();
    nothing_is_left(&second);
    assert_eq!(layers(&second), layers_of_success);
}

#[test]
fn the_next_failure_replaces_it() {
    let failed = failed();
    let changed = SCRIPT.replace("prepare", "prepare well");
    failed.again().script(&changed).args(["run", "script.lua"]).status(1).any_stderr().run();
    assert!(log(&failed, &[]).contains("1: run \"prepare well\""));
    assert_eq!(layers(&failed), ["base", "child"]);
}

#[test]
fn nothing_is_kept_when_that_is_asked_for() {
    let failed = failed();
    let clean = failed.again().args(["run", "--on-error", "clean", "script.lua"]).status(1).any_stderr().run();
    assert!(!clean.stderr.contains("snaptree log"), "{}", clean.stderr);
    nothing_is_left(&clean);
    assert_eq!(layers(&clean), ["base"]);
}

#[test]
fn a_branch_says_itself_what_is_kept() {
    let keeping = |keep: &str| SCRIPT.replace("end)", &format!("end, {{ keep_failed = {keep} }})"));
    let clean = Test::new().answers(answers()).script(&keeping("false")).args(["run", "script.lua"]).status(1);
    let clean = clean.any_stderr().run();
    nothing_is_left(&clean);
    let kept = clean.again().script(&keeping("true")).args(["run", "--on-error", "clean", "script.lua"]).status(1);
    assert_eq!(log(&kept.any_stderr().run(), &[]), FAILED_LOG);
}

#[test]
fn gc_and_the_end_of_the_machine_remove_it() {
    let failed = failed();
    let gc = failed.again().args(["gc", "lab"]).status(2);
    gc.stderr("error: this would delete 1 failed branch of `lab`\nhint: pass --yes to skip the confirmation\n").run();
    let freed = failed.again().args(["gc", "lab", "--yes"]).any_stderr().run();
    assert!(freed.stderr.starts_with("Removed `[DIR]/store/") && freed.stderr.contains("\nFreed "), "{}", freed.stderr);
    nothing_is_left(&failed);
    assert_eq!(layers(&failed), ["base"]);
    failed.again().args(["run", "script.lua"]).status(1).any_stderr().run();
    failed.again().args(["delete", "lab", "--yes"]).any_stderr().run();
    assert_eq!(std::fs::read_dir(failed.path().join("store/machines")).unwrap().count(), 0);
}

#[test]
fn its_backing_layers_stay_when_its_parent_goes() {
    let script = SCRIPT
        .replace(r#"root("base")"#, r#"root("base"):branch("middle", function(guest) guest:write("/m", "mid") end)"#);
    let failed =
        Test::new().answers(answers()).script(&script).args(["run", "script.lua"]).status(1).any_stderr().run();
    failed.again().args(["delete", "lab/middle", "--yes"]).any_stderr().run();
    failed.again().args(["gc", "lab", "--yes"]).any_stderr().run();
    assert_eq!(layers(&failed), ["base"], "gc gives up both");

    failed.again().args(["run", "script.lua"]).status(1).any_stderr().run();
    failed.again().args(["delete", "lab/middle", "--yes"]).any_stderr().run();
    let other = r#"machine("lab", { image = require "images.tiny" {} }):root("base")"#;
    failed.again().script(other).args(["run", "script.lua"]).any_stderr().run();
    failed.again().args(["exec", "--failed", "lab/child", "--", "cat", "/m"]).stdout("mid").run();
}

#[test]
fn an_interrupt_keeps_nothing() {
    let script = SCRIPT.replace("make", "sleep 60");
    let running = Test::new().script(&script).args(["run", "script.lua"]).status(130).any_stderr().start();
    let sleeps = |state: &serde_json::Value| {
        let executed = state["executed"].as_array().cloned().unwrap_or_default();
        executed.iter().any(|entry| entry["command"] == "sleep 60")
    };
    let ran = running.wait_for_state(sleeps).signal("INT").finish();
    nothing_is_left(&ran);
    assert_eq!(layers(&ran), ["base"]);
}

#[test]
fn an_error_of_the_step_itself_is_kept_without_an_operation() {
    let script = SCRIPT.replace(r#"guest:run "make""#, r#"error("no such version")"#);
    let ran = Test::new().script(&script).args(["run", "script.lua"]).status(1).any_stderr().run();
    assert_eq!(
        log(&ran, &[]),
        "failed at [DATE] on `base`: script.lua:5: no such version\n\
         1: run \"prepare\": [TIME]\n    status 0\n\
         2: write /etc/conf, 7 bytes (409fc5c8): [TIME]\n"
    );
}

#[test]
fn a_step_has_a_time_limit_of_its_own() {
    let limited = |text: &str, with: &str| text.replace("end)", &format!("end, {{ timeout = \"{with}\" }})"));
    let script = limited(&SCRIPT.replace("make", "sleep 60"), "1s");
    let ran = Test::new().script(&script).args(["run", "script.lua"]).status(124).any_stderr().run();
    let (_, error) = ran.stderr.split_once("error: ").expect(&ran.stderr);
    assert_eq!(
        error,
        "script.lua:5: the step of `child` timed out after 1s: run \"sleep 60\"\n\
         hint: raise the option `timeout` of the branch\n"
    );
    assert!(log(&ran, &[]).ends_with("3: run \"sleep 60\": [TIME], failed\n"));

    // A step that catches errors does not get any further.
    let stubborn = limited(
        r#"
        machine("lab", { image = require "images.tiny" {} }):root("base"):branch("child", function(guest)
          while true do pcall(guest.run, guest, "sleep 60") end
        end)
        "#,
        "1s",
    );
    let ran = ran.again().script(&stubborn).args(["run", "script.lua"]).status(124).any_stderr().run();
    assert!(ran.stderr.contains("error: script.lua:1: the step of `child` timed out after 1s\n"), "{}", ran.stderr);
    let ample = limited(SCRIPT, "10m");
    ran.again().script(&ample).args(["run", "script.lua"]).any_stderr().run();
}

#[test]
fn branches_that_fail_together_each_keep_their_own() {
    let script = r#"
        local base = machine("lab", { image = require "images.tiny" {} }):root("base")
        base:branches {
          fine = function(guest) guest:write("/who", "fine") guest:run "sleep 0.3" end,
          one = function(guest) guest:write("/who", "one") guest:run "false" end,
          other = function(guest) guest:write("/who", "other") guest:run "sleep 0.1" error("on purpose") end,
        }
    "#;
    let ran = Test::new().script(script).args(["run", "script.lua", "-j3"]).status(1).any_stderr().run();
    let (_, errors) = ran.stderr.split_once("error: ").expect(&ran.stderr);
    assert_eq!(errors, "script.lua:4: \"false\" failed with exit status 1 in `one`\nerror: script.lua:5: on purpose\n");
    for name in ["one", "other"] {
        let path = format!("lab/{name}");
        assert!(ran.stderr.contains(&format!("{name}: `snaptree log {path}` shows")), "{}", ran.stderr);
        ran.again().args(["exec", "--failed", &path, "--", "cat", "/who"]).stdout(name).run();
    }
    ran.again().args(["exec", "lab/fine", "--", "cat", "/who"]).stdout("fine").run();
    ran.again().args(["tree", "lab"]).stdout("base (current)\n  |\n  +- fine\n").run();
}

#[test]
fn a_plan_leaves_what_failed_alone_and_is_the_same_with_it() {
    let plan = |ran: &Ran, script: &str, status: i32, child: &str| {
        let stdout = format!("base: cached\n  |\n  +- child: {child}\n");
        ran.again().script(script).args(["plan", "script.lua"]).status(status).stdout(&stdout).run();
    };
    let failed = failed();
    let before = (layers(&failed), log(&failed, &["--failed"]));
    plan(&failed, SCRIPT, 2, "missing");
    let good = SCRIPT.replace(r#"guest:run "make""#, "");
    failed.again().script(&good).args(["run", "script.lua"]).any_stderr().run();
    failed.again().script(SCRIPT).args(["run", "script.lua"]).status(1).any_stderr().run();
    plan(&failed, &good, 0, "cached");
    assert_eq!((layers(&failed).len() > before.0.len(), log(&failed, &["--failed"])), (true, before.1));
    // Nor does a run whose plan is all that comes of it.
    let frozen = ["run", "--frozen", "script.lua"];
    failed.again().script(SCRIPT).args(frozen).status(1).any_stdout().any_stderr().run();
    failed.again().args(["log", "--failed", "lab/child"]).any_stdout().run();
    failed.again().script(&good).args(["run", "script.lua"]).any_stderr().run();
    nothing_is_left(&failed);
}
