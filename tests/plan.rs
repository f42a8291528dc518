//! `snaptree plan`, and what `run` accepts beside it: `--only`, `--rebuild`, `--frozen`, `--set`.

mod control;
mod params;

use std::path::Path;

use crate::support::{Ran, Test};

/// A tree of four in which most causes of a rebuild can be made.
const TREE: &str = r#"
    local vm = machine("lab", { image = require "images.tiny" {} })
    local base = vm:root("base"):branch("updated", function(guest)
      guest:run "apt-get update"
    end)
    base:branches {
      mariadb = function(guest)
        guest:run "apt-get install mariadb-server"
        guest:write("/etc/my.cnf", "port=3306")
        guest:run("sync", { user = "mysql", env = { LANG = "C" } })
      end,
      postgresql = function(guest)
        guest:run "apt-get install postgresql"
      end,
    }
"#;

const CACHED: &str = "
    base: cached
      |
      +- updated: cached
          |
          +- mariadb: cached
          +- postgresql: cached
";

fn run(script: &str) -> Ran {
    Test::new().script(script).args(["run", "script.lua"]).any_stdout().any_stderr().run()
}

fn rerun(ran: &Ran, script: &str) -> Ran {
    ran.again().script(script).args(["run", "script.lua"]).any_stdout().any_stderr().run()
}

fn plan(ran: &Ran, script: &str, status: i32, stdout: &str) -> Ran {
    ran.again().script(script).args(["plan", "script.lua"]).status(status).stdout(stdout).run()
}

/// Lists every file below a directory with its content, apart from the script.
fn all_files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut waiting = vec![directory.to_path_buf()];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(next).expect("a directory").flatten() {
            match entry.path() {
                path if path.is_dir() => {
                    files.push((path.display().to_string(), Vec::new()));
                    waiting.push(path);
                }
                path if path.ends_with("script.lua") => {}
                path => files.push((path.display().to_string(), std::fs::read(&path).expect("a file"))),
            }
        }
    }
    files.sort();
    files
}

#[test]
fn a_plan_of_a_tree_that_is_built_is_all_cached_and_ends_with_0() {
    plan(&run(TREE), TREE, 0, CACHED);
}

#[test]
fn a_plan_of_a_tree_that_is_not_there_is_all_missing_and_makes_nothing() {
    let empty = Test::new().script("").args(["run", "script.lua"]).run();
    let before = all_files(empty.path());
    plan(
        &empty,
        TREE,
        2,
        "
        base: missing
          |
          +- updated: missing
              |
              +- mariadb: missing
              +- postgresql: missing
        ",
    );
    assert!(before == all_files(empty.path()), "a plan changed a file");
    let new = Test::new().script(TREE).args(["plan", "script.lua"]).status(2).any_stdout().run();
    assert!(!new.path().join("cache").exists() && !new.path().join("store").exists());
}

#[test]
fn what_depends_on_a_stale_node_is_stale_and_no_step_of_it_is_run() {
    let first = run(TREE);
    let changed = TREE
        .replace("apt-get update", "apt-get update -q")
        .replace("postgresql = function(guest)", "postgresql = function(guest) error 'run'");
    let changed = format!("{changed}\n base:branch('new', function() error 'run' end):branch('below', error)");
    let before = all_files(first.path());
    let planned = plan(
        &first,
        &changed,
        2,
        r#"
        base: cached
          |
          +- updated: stale (because: operation 1 of updated: run "apt-get update -q" was "apt-get update")
              |
              +- mariadb: stale (parent updated is stale)
              +- new: missing
              |   |
              |   +- below: missing
              |
              +- postgresql: stale (parent updated is stale)
        "#,
    );
    assert!(before == all_files(planned.path()), "a plan changed a file");
}

#[test]
fn a_superseded_node_that_fits_counts_as_cached() {
    let first = run(TREE);
    let other = TREE.replace("apt-get update", "apt-get update -q");
    rerun(&first, &other);
    let before = all_files(first.path());
    let kept_aside = "
        base: cached
          |
          +- updated: cached (kept aside)
              |
              +- mariadb: cached (kept aside)
              +- postgresql: cached (kept aside)
    ";
    plan(&first, TREE, 0, kept_aside);
    assert!(before == all_files(first.path()), "a plan changed a file");
    let started = rerun(&first, &other).started();
    assert_eq!(rerun(&first, TREE).started(), started, "a run builds nothing, as the plan says");
    plan(&first, TREE, 0, CACHED);
}

#[test]
fn a_plan_as_json_has_the_documented_fields() {
    let first = run(TREE);
    let changed = TREE.replace("apt-get update", "apt-get update -q") + "\nvm:start() vm:find('base'):delete()";
    let planned =
        first.again().script(&changed).args(["plan", "script.lua", "--json"]).status(2).any_stdout().run().stdout;
    let planned: serde_json::Value = serde_json::from_str(&planned).expect("JSON");
    let node = |name: &str, parent, status: &str, because| {
        serde_json::json!({
            "name": name, "parent": parent, "status": status, "kept_aside": false, "because": because,
        })
    };
    let because = r#"operation 1 of updated: run "apt-get update -q" was "apt-get update""#;
    let below = Some("parent updated is stale");
    let expected = serde_json::json!({
        "builds": true,
        "machines": [{
            "machine": "lab",
            "connection": "fake:state.json",
            "nodes": [
                node("base", None::<&str>, "cached", None::<&str>),
                node("updated", Some("base"), "stale", Some(because)),
                node("mariadb", Some("updated"), "stale", below),
                node("postgresql", Some("updated"), "stale", below),
            ],
        }],
        "not_planned": [{ "act": "start", "of": "lab" }, { "act": "delete", "of": "lab/base" }],
    });
    assert_eq!(planned, expected);
}

#[test]
fn acts_are_listed_in_their_order_and_the_script_continues() {
    let script = r#"
        local vm = machine("db", { image = require "images.tiny" {} })
        local root = vm:root("root", { comment = "c" })
        local child = root:branch("child", function(guest) guest:run "true" end)
        print(root.name, root.comment, child.parent, child.created, child.state, child.kind, child.live, #child.disks)
        print(vm.uuid, #vm:snapshots(), vm:find("child"), vm:find("other"), vm:current(), #vm:tree(), vm:state(), vm:xml())
        vm:start()
        while vm:state() ~= "running" do end
        local guest = vm:guest()
        local r = guest:run("date")
        print(r.status, r.ok, "<" .. r.stdout .. ">", "<" .. guest:read("/etc/motd") .. ">", guest:time())
        guest:write("/x", "y")
        guest:pull("/x", "pulled")
        local taken = vm:snapshot("taken")
        taken:branch("on", function() error "run" end)
        print(taken, taken.comment, #taken:children(), taken:is_current(), machine.open("db"):find("taken"))
        vm:suspend() vm:resume() vm:screenshot("screen.png") vm:undo() vm:shutdown() vm:destroy()
        print(vm:state(), child:revert(), child:delete()[1])
    "#;
    let planned = Test::new()
        .script(script)
        .args(["plan", "script.lua"])
        .status(2)
        .stdout(
            "
            on: missing

            root: missing
              |
              +- child: missing
            not planned (start of db)
            not planned (guest of db)
            not planned (snapshot of db)
            not planned (suspend of db)
            not planned (resume of db)
            not planned (screenshot of db)
            not planned (undo of db)
            not planned (shutdown of db)
            not planned (destroy of db)
            not planned (revert of db/child)
            not planned (delete of db/child)
            ",
        )
        .stderr(
            "root\t\tnil\t0\tshutoff\texternal\tfalse\t0\n\
             \t0\tdb/child\tnil\tnil\t0\tshutoff\t\n\
             0\ttrue\t<>\t<>\t0.0\n\
             db/taken\t\t0\tfalse\tdb/taken\n\
             shutoff\tnil\tchild\n",
        )
        .run();
    assert!(!planned.path().join("pulled").exists() && !planned.path().join("screen.png").exists());
}

#[test]
fn what_grows_from_a_snapshot_that_is_taken_again_is_not_known() {
    let script = "
        local vm = machine('db', { image = require 'images.tiny' {} })
        vm:root('root')
        if vm:find('taken') then vm:find('taken'):delete() end
        vm:snapshot('taken'):branch('on', function(guest) guest:run 'true' end)
    ";
    plan(
        &run(script),
        script,
        2,
        "
        on: stale (parent taken is not planned)

        root: cached
        not planned (delete of db/taken)
        not planned (snapshot of db)
        ",
    );
}

#[test]
fn several_machines_are_named_and_foreign_ones_are_planned_too() {
    let script = "
        local image = require 'images.tiny' {}
        machine('one', { image = image }):root('a')
        machine('two', { image = image }):root('b'):branch('c', function(guest) guest:run 'true' end)
        machine.open('one'):find('a'):branch('d', function(guest) guest:run 'true' end)
    ";
    plan(&run(""), script, 2, "one:\na: missing\n  |\n  +- d: missing\n\ntwo:\nb: missing\n  |\n  +- c: missing\n");
    plan(&run(script), script, 0, "one:\na: cached\n  |\n  +- d: cached\n\ntwo:\nb: cached\n  |\n  +- c: cached\n");
}

#[test]
fn a_replayed_pull_writes_no_file_in_a_plan() {
    let script = "
        local vm = machine('lab', { image = require 'images.tiny' {} })
        vm:root('base'):branch('child', function(guest)
          guest:write('/x', 'y')
          guest:pull('/x', 'pulled')
        end)
    ";
    let first = run(script);
    std::fs::remove_file(first.path().join("pulled")).expect("the run has pulled it");
    plan(&first, script, 0, "base: cached\n  |\n  +- child: cached\n");
    assert!(!first.path().join("pulled").exists());
}

#[test]
fn a_plan_of_a_script_that_fails_fails_with_its_error() {
    Test::new()
        .script("machine('lab', { image = require 'images.tiny' {} }):root('base')\nerror('no')")
        .args(["plan", "script.lua"])
        .status(1)
        .stderr("error: script.lua:2: no\n")
        .run();
}
