//! `snaptree run` on the fake hypervisor: what is built, what is reused, and what is said about it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::support::{Ran, Test};

/// A tree of four, with a comment and a function that later tests change.
const TREE: &str = r#"
    local vm = machine("lab", { image = require "images.tiny" {} })
    local base = vm:root("base"):branch("updated", function(guest)
      guest:run "apt-get update"
    end)
    base:branches {
      mariadb = function(guest)
        guest:run "apt-get install mariadb-server"
        guest:write("/etc/my.cnf", "port=3306")
      end,
      postgresql = function(guest)
        guest:run "apt-get install postgresql"
      end,
    }
"#;

fn built(script: &str) -> Ran {
    Test::new().script(script).args(["run", "script.lua"]).any_stderr().run()
}

/// Runs the changed script where the tree was built before, and returns what the run says of its nodes.
fn rerun(first: &Ran, script: &str) -> Vec<String> {
    let second = first.again().script(script).args(["run", "script.lua"]).any_stderr().run();
    let about_nodes = |line: &&str| line.contains(": cached.") || line.contains(": building, ");
    second.stderr.lines().filter(about_nodes).map(str::to_string).collect()
}

const ALL_CACHED: [&str; 4] = ["base: cached.", "updated: cached.", "mariadb: cached.", "postgresql: cached."];

fn says(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| line.to_string()).collect()
}

#[test]
fn a_first_run_builds_and_reports_every_node() {
    Test::new()
        .script(
            r#"
            local vm = machine("lab", { image = require "images.tiny" {} })
            vm:root("base"):branch("child", function(guest)
              guest:run "true"
              print("from the script", 1)
            end)
            "#,
        )
        .args(["run", "script.lua"])
        .stdout("from the script\t1\n")
        .stderr(
            r#"
            base: building, because it does not exist yet.
            base: built in [TIME].
            child: building, because it does not exist yet.
            child: booted in [TIME].
            child: 1: run "true"
            child: 1: done in [TIME].
            child: built in [TIME].
            base (current)
              |
              +- child
            "#,
        )
        .run();
}

#[test]
fn a_second_run_is_cached_and_starts_nothing() {
    let first = built(TREE);
    let (started, executed) = (first.started(), first.executed());
    let second = first
        .again()
        .args(["run", "script.lua"])
        .stderr(
            "
            base: cached.
            updated: cached.
            mariadb: cached.
            postgresql: cached.
            base (current)
              |
              +- updated
                  |
                  +- mariadb
                  +- postgresql
            ",
        )
        .run();
    assert_eq!(second.started(), started);
    assert_eq!(second.executed(), executed);
}

#[test]
fn a_comment_or_a_refactoring_rebuilds_nothing() {
    let first = built(TREE);
    let refactored = r#"
        -- The same effects, told in another way.
        local function install(package)
          return function(guest)
            guest:run("apt-get install " .. package)
          end
        end
        local vm = machine("lab", { image = require "images.tiny" {}, memory = "1G" })
        local updated = vm:root("base", {}):branch("updated", function(g) g:run("apt-get update", { timeout = 60 }) end)
        updated:branches {
          postgresql = install "postgresql",
          mariadb = function(guest)
            install "mariadb-server" (guest)
            guest:write("/etc/my.cnf", "port=" .. 3306)
          end,
        }
    "#;
    assert_eq!(rerun(&first, refactored), says(&ALL_CACHED));
}

#[test]
fn a_snapshot_that_no_script_made_is_never_replaced() {
    let first = built(TREE);
    let mut state = first.state();
    let metadata = &mut state["domains"]["lab"]["snapshots"]["updated"]["document"]["metadata"];
    assert!(metadata.is_object());
    *metadata = serde_json::Value::Null;
    first
        .again()
        .file("state.json", state.to_string())
        .args(["run", "script.lua"])
        .status(1)
        .stderr(
            "
            base: cached.
            error: script.lua:2: a snapshot `updated` exists already in `lab`, and no script made it
            hint: give yours another name; nothing was changed
            ",
        )
        .run();
}

#[test]
fn switching_back_and_forth_builds_once() {
    let first = built(TREE);
    let other = TREE.replace("apt-get update", "apt-get update -q");
    rerun(&first, &other);
    assert_eq!(rerun(&first, TREE), says(&ALL_CACHED));
    assert_eq!(rerun(&first, &other), says(&ALL_CACHED));
}

#[test]
fn results_of_operations_are_replayed_to_the_script() {
    let script = r#"
        local vm = machine("lab", { image = require "images.tiny" {} })
        vm:root("base"):branch("child", function(guest)
          local r = guest:run("version", { check = false })
          guest:write("/v", r.stdout)
          print(r.status, r.ok, r.stderr, guest:read("/v"), guest:time(), guest:info().id)
        end)
    "#;
    let answers = serde_json::json!([{ "command": "version", "status": 3, "stdout": "10.11", "stderr": "odd" }]);
    let printed = "3\tfalse\todd\t10.11\t1700000000.0\tdebian\n";
    let first =
        Test::new().answers(answers).script(script).args(["run", "script.lua"]).stdout(printed).any_stderr().run();
    first.again().args(["run", "script.lua"]).stdout(printed).any_stderr().run();
}

#[test]
fn arguments_reach_the_script() {
    Test::new()
        .script("#!/usr/bin/env -S snaptree run\nprint(arg[0], arg[1], arg[2], ...)")
        .args(["run", "script.lua", "one", "--two"])
        .stdout("script.lua\tone\t--two\tone\t--two\n")
        .run();
    Test::new()
        .script("print((...) == arg[1], arg[1]:byte(1, -1))")
        .args([OsStr::new("run"), OsStr::new("script.lua"), OsStr::from_bytes(b"\xff\xfe")])
        .stdout("true\t255\t254\n")
        .run();
}

#[test]
fn what_a_script_writes_and_prints_comes_in_one_order() {
    let script = r#"
        io.write "written, "
        print "printed"
        io.write("written", " again\n")
        print "and printed"
    "#;
    Test::new()
        .script(script)
        .args(["run", "script.lua"])
        .stdout("written, printed\nwritten again\nand printed\n")
        .run();
}

#[test]
fn modules_beside_the_script_may_wait_for_guests_while_they_load() {
    Test::new()
        .file(
            "tree/of.lua",
            "local vm = machine('lab', { image = require 'images.tiny' {} })\n\
             return vm:root('base'):branch('child', function(guest) guest:run 'true' end)",
        )
        .script("print(require('tree.of').name)")
        .args(["run", "script.lua"])
        .stdout("child\n")
        .any_stderr()
        .run();
}

#[test]
fn a_coroutine_of_the_script_may_wait_for_guests() {
    Test::new()
        .script(
            r#"
            local vm = machine("lab", { image = require "images.tiny" {} })
            vm:root("base"):branch("child", function(guest)
              local each = coroutine.wrap(function()
                for n = 1, 3 do
                  guest:run("echo " .. n)
                  coroutine.yield(n)
                end
              end)
              print(each(), each(), each())
            end)
            "#,
        )
        .args(["run", "script.lua"])
        .stdout("1\t2\t3\n")
        .any_stderr()
        .run();
}

#[test]
fn no_pcall_can_keep_a_stale_step_from_being_run_again() {
    let script = r#"
        local vm = machine("lab", { image = require "images.tiny" {} })
        vm:root("base"):branch("child", function(guest)
          print(pcall(guest.run, guest, "a"))
        end)
    "#;
    let first = Test::new().script(script).args(["run", "script.lua"]).any_stdout().any_stderr().run();
    let changed = script.replace("\"a\"", "\"b\"").replace("print", "local _ =");
    assert_eq!(rerun(&first, &changed)[1], r#"child: building, because operation 1 of child: run "b" was "a"."#);
}

#[test]
fn a_caught_error_reads_as_it_would_at_the_end_and_keeps_its_kind() {
    Test::new()
        .script(
            r#"
            local vm = machine("lab", { image = require "images.tiny" {} })
            vm:root("base"):branch("child", function(guest)
              print(select(2, pcall(guest.run, guest, "false")))
              print(xpcall(guest.run, function(failure) return "handled " .. tostring(failure) end, guest, "false"))
              local ok, failure = pcall(guest.run, guest, "sleep 60", { timeout = 0.1 })
              error(failure)
            end)
            "#,
        )
        .args(["run", "script.lua"])
        .stdout(
            "script.lua:3: \"false\" failed with exit status 1 in `child`\n\
             false\thandled script.lua:4: \"false\" failed with exit status 1 in `child`\n",
        )
        .status(124)
        .any_stderr()
        .run();
}

#[test]
fn an_interrupt_stops_the_run_and_leaves_the_tree_as_it_was() {
    let script = TREE.replace("apt-get install postgresql", "sleep 60");
    let ran = Test::new()
        .script(&script)
        .args(["run", "script.lua"])
        .status(130)
        .any_stderr()
        .start()
        .wait_for_state(|state| {
            state["executed"].as_array().is_some_and(|all| all.iter().any(|e| e["command"] == "sleep 60"))
        })
        .signal("INT")
        .finish();
    assert!(ran.stderr.ends_with("error: interrupted\n"), "{}", ran.stderr);
    assert_eq!(ran.domains(), ["lab"], "no builder is left");
    ran.again().args(["tree", "lab"]).any_stdout().run();
}

#[test]
fn two_runs_of_one_script_build_each_node_once() {
    let script = r#"
        local vm = machine("lab", { image = require "images.tiny" {} })
        vm:root("base"):branch("child", function(guest) guest:run "sleep 1" end)
    "#;
    let first = Test::new().script("").args(["run", "script.lua"]).run();
    // Written once: a process that starts must not find the file half written.
    let ready = first.again().script(script);
    let start = || ready.again().args(["run", "script.lua"]).any_stderr().start();
    let (one, other) = (start(), start());
    let reports = [one.finish(), other.finish()].map(|ran| ran.stderr);
    let waited = reports.iter().find(|report| report.contains("waiting for another snaptree that is building `lab`."));
    assert!(waited.is_some_and(|report| report.contains("child: cached.")), "{reports:?}");
    assert_eq!(first.started().len(), 1);
}

#[test]
fn what_a_killed_run_had_made_of_a_new_machine_is_removed() {
    let note = |machine: &str| serde_json::json!({ "connection": "fake:state.json", "machine": machine }).to_string();
    let first = Test::new()
        .file("store/machines/lab-11111111/machine-0123456789ab-0.draft", note("lab"))
        .file("store/machines/lab-11111111/base-0123456789ab-1.qcow2", "half of it")
        .file("store/machines/lab-22222222/machine-0123456789ab-0.draft", note("another with that slug"))
        .script(TREE)
        .args(["run", "script.lua"])
        .any_stderr()
        .run();
    let is_there = |directory: &str| first.path().join("store/machines").join(directory).exists();
    assert!(!is_there("lab-11111111"));
    assert!(is_there("lab-22222222"));
}

#[test]
fn what_a_killed_builder_had_besides_its_disks_is_removed() {
    let first = Test::new().script(TREE).args(["run", "script.lua"]).any_stderr().run();
    let directory = std::fs::read_dir(first.path().join("store/machines")).expect("the machines").flatten().next();
    let directory = directory.expect("the machine's directory").path();
    let files =
        ["sn01-0123456789ab-1.nvram", "sn01-0123456789ab-1.pstore", "mine.nvram"].map(|name| directory.join(name));
    files.iter().for_each(|file| std::fs::write(file, "").expect("cannot write a file"));
    first.again().script(TREE).args(["run", "script.lua"]).any_stderr().run();
    assert_eq!(files.map(|file| file.exists()), [false, false, true]);
}

#[test]
fn a_busy_loop_can_be_interrupted_even_under_pcall_and_in_a_handler() {
    for looping in [
        "while true do pcall(function() while true do end end) end",
        "xpcall(function() while true do end end, function() while true do end end)",
        "xpcall(error, function() while true do end end)",
    ] {
        let ran = Test::new()
            .file("started", "")
            .script(&format!("print('looping') {looping}"))
            .args(["run", "script.lua"])
            .status(130)
            .any_stdout()
            .stderr("error: interrupted\n")
            .start();
        std::thread::sleep(std::time::Duration::from_millis(500));
        ran.signal("INT").finish();
    }
}

#[test]
fn os_exit_ends_a_script_with_its_code_and_leaves_nothing_that_runs() {
    for (code, status) in [("", 0), ("0", 0), ("true", 0), ("false", 1), ("7", 7), ("3.0, true", 3)] {
        Test::new()
            .script(&format!(
                "print 'on' pcall(os.exit{}) print 'not reached'",
                if code.is_empty() { String::new() } else { format!(", {code}") }
            ))
            .args(["run", "script.lua"])
            .status(status)
            .stdout("on\n")
            .run();
    }
    let lab = Test::new();
    let ran = lab
        .script(
            r#"
            local base = machine("lab", { image = require "images.tiny" {} }):root("base")
            parallel {
              function() base:branch("slow", function(guest) guest:run "sleep 60" end) end,
              function() base:branch("web", function(guest)
                guest:run "true"
                coroutine.wrap(function() os.exit(7) end)()
              end) end,
            }
            "#,
        )
        .args(["run", "--quiet", "script.lua"])
        .status(7)
        .run();
    assert_eq!(ran.domains(), ["lab"]);
    ran.again().args(["eval", "os.exit(3)"]).status(3).run();
    ran.again().args(["repl"]).stdin("1\nos.exit(4)\n2\n").stdout("1\n").status(4).run();
    ran.again().script("param('n', 1) os.exit(2)").args(["run", "--set", "n=2", "script.lua"]).status(2).run();
}
