//! The commands beside `run`, on the fake hypervisor.

use crate::support::{Ran, Test};

fn lab() -> Ran {
    let script = r#"
        local vm = machine("lab", { image = require "images.tiny" {} })
        vm:root("base", { comment = "fresh" }):branch("child", function(guest)
          guest:write("/etc/motd", "hello\n")
        end)
    "#;
    Test::new().script(script).args(["run", "script.lua"]).any_stderr().run()
}

#[test]
fn tree_draws_one_machine_or_all_of_them() {
    let lab = lab();
    let drawn = "base (current)\n  |\n  +- child\n";
    lab.again().args(["tree", "lab"]).stdout(drawn).run();
    lab.again().args(["tree"]).stdout(&format!("lab:\n{drawn}")).run();
}

#[test]
fn tree_as_json_has_the_documented_fields() {
    let ran = lab().again().args(["tree", "lab", "--format", "json"]).any_stdout().run();
    let mut json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    for snapshot in json[0]["snapshots"].as_array_mut().unwrap() {
        assert_eq!(snapshot["key"].take().as_str().unwrap().len(), 64);
        assert!(snapshot["created"].take().as_u64().unwrap() > 1_600_000_000);
    }
    let snapshot = |name, parent: Option<&str>, comment, current: bool, operations: &[&str]| {
        serde_json::json!({
            "name": name, "parent": parent, "comment": comment, "created": null, "state": "shutoff",
            "current": current, "kind": "external", "live": parent.is_some(), "key": null, "operations": operations,
        })
    };
    assert_eq!(
        json,
        serde_json::json!([{
            "machine": "lab",
            "current": "base",
            "snapshots": [
                snapshot("base", None, "fresh", true, &[]),
                snapshot("child", Some("base"), "", false, &["write /etc/motd, 6 bytes (8e4c7c1b)"]),
            ],
        }])
    );
}

#[test]
fn exec_is_the_command_and_nothing_else() {
    let lab = lab();
    let domains = lab.domains();
    let ran = lab.again().args(["exec", "lab/child", "--", "cat", "/etc/motd"]).stdout("hello\n").run();
    assert_eq!(ran.domains(), domains, "the fork is gone");
    lab.again()
        .answers(serde_json::json!([{ "command": "grep x", "status": 7, "stdout": "out", "stderr": "err" }]))
        .args(["exec", "lab/child", "--", "grep", "x"])
        .status(7)
        .stdout("out")
        .stderr("err")
        .run();
    lab.again().args(["exec", "lab/base", "--", "cat"]).stdin(b"\0binary\xff").any_stdout().run();
}

#[test]
fn exec_leaves_the_snapshot_as_it_is() {
    let lab = lab();
    let child = |ran: &Ran| {
        let layers = ran.state()["layers"].as_object().unwrap().clone();
        let is_child = |layer: &serde_json::Value| layer["backing"].as_str().is_some_and(|b| b.contains("/base-"));
        layers.into_iter().find(|(path, layer)| path.contains("/child-") && is_child(layer)).unwrap()
    };
    let before = child(&lab);
    let ran = lab.again().args(["exec", "lab/child", "--", "true"]).run();
    assert_eq!(child(&ran), before);
    let files = std::fs::read_dir(std::path::Path::new(&before.0).parent().unwrap()).unwrap();
    let forks = files.flatten().filter(|file| file.file_name().to_string_lossy().starts_with("child-"));
    let forks = forks.filter(|file| file.path().extension().is_some_and(|ending| ending == "qcow2"));
    assert_eq!(forks.count(), 1, "the fork's overlay is gone");
}

#[test]
fn delete_wants_yes_and_then_leaves_nothing() {
    let lab = lab();
    lab.again()
        .args(["delete", "lab"])
        .status(2)
        .stderr(
            "
            error: this would delete machine `lab` with its 2 snapshots and their layers
            hint: pass --yes to skip the confirmation
            ",
        )
        .run();
    let ran = lab
        .again()
        .args(["delete", "lab", "--yes"])
        .stderr("Deleted machine `lab` with its 2 snapshots and their layers.\n")
        .run();
    assert_eq!(ran.domains(), Vec::<String>::new());
    let machines = std::fs::read_dir(ran.path().join("store/machines")).unwrap();
    assert_eq!(machines.count(), 0);
}

/// What is refused before anything is looked at, without the lines about `--help`.
#[track_caller]
fn misused(args: &str, stderr: &str) {
    let ran = Test::new().args(args.split(' ')).status(2).any_stderr().run();
    let said = ran.stderr.split("\n\n").next().unwrap_or_default();
    assert_eq!(said.trim_end(), stderr, "snaptree {args}");
    assert_eq!(ran.domains(), Vec::<String>::new());
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let cannot = |args: &str, one: &str, other: &str| {
        misused(args, &format!("error: the argument '{one}' cannot be used with '{other}'"));
    };
    cannot("list lab --tree --name", "--tree", "--name");
    cannot("list lab --tree --leaves", "--tree", "--leaves");
    cannot("list lab --tree --json", "--tree", "--json");
    cannot("list lab --from a --current", "--from <SNAPSHOT>", "--current");
    cannot("list lab --leaves --no-leaves", "--leaves", "--no-leaves");
    cannot("info lab --xml --json", "--xml", "--json");
    cannot("snapshot lab sn01 --xml file", "[NAME]", "--xml <FILE>");
    cannot("snapshot lab sn01 --internal --external", "--internal", "--external");
    cannot("snapshot lab --xml file --redefine --live", "--redefine", "--live");
    cannot("revert lab/sn01 --running --paused", "--running", "--paused");
    cannot("delete lab/sn01 --children --children-only", "--children", "--children-only");
    cannot("undo lab 1 --list", "[NUMBER]", "--list");
    misused(
        "list lab --roots --from a",
        "error: the argument '--roots' cannot be used with:\n  --from <SNAPSHOT>\n  --current",
    );
}

#[test]
fn options_that_need_another_one_are_refused_without_it() {
    let needs = |args: &str, what: &str| {
        misused(args, &format!("error: the following required arguments were not provided:\n  {what}"));
    };
    needs("list --roots", "<MACHINE>");
    needs("list lab --descendants", "<--from <SNAPSHOT>|--current>");
    needs("info lab --inactive", "--xml");
    needs("snapshot lab", "<NAME>");
    needs("snapshot lab sn01 --current", "--xml <FILE>\n  --redefine");
    needs("undo lab --json", "--list");
}

#[test]
fn what_a_machine_or_a_snapshot_has_no_use_for_is_refused() {
    misused(
        "revert lab --yes",
        "error: `lab` names no snapshot\nhint: write lab/SNAPSHOT, or give --current for its current one",
    );
    misused(
        "log lab/sn01 --current",
        "error: `lab/sn01` names a snapshot already\nhint: give either the snapshot or --current: `--current lab`",
    );
    misused(
        "delete lab --children",
        "error: `lab` names a machine, and --children is for a snapshot\n\
         hint: write lab/SNAPSHOT, or give --current for its current one",
    );
    misused(
        "delete lab/sn01 --force",
        "error: `lab/sn01` names a snapshot, and --force is for a machine\n\
         hint: omit --force: `snaptree undo` can restore a deleted snapshot",
    );
    misused(
        "info lab/sn01 --xml --inactive",
        "error: `lab/sn01` is a snapshot, and --inactive is for a machine\n\
         hint: omit --inactive: a snapshot has only one description",
    );
    misused(
        "current lab/sn01",
        "error: invalid value 'lab/sn01' for '<MACHINE>': \"lab/sn01\" cannot name a machine: it contains `/`, \
         which separates a machine from a snapshot\n\
         hint: letters of any script, digits, spaces, quotes and most signs are fine",
    );
}

#[test]
fn a_specification_that_contradicts_itself_is_refused() {
    misused(
        "snapshot lab sn01 --diskspec vda,size=1",
        "error: invalid value 'vda,size=1' for '--diskspec <SPEC>': \
         `size=1` is none of snapshot=, file=, driver= and stype=",
    );
    misused(
        "snapshot lab sn01 --memory --disk-only",
        "error: these options ask for a snapshot both with and without RAM\n\
         hint: --disk-only and --no-memory leave the RAM out, --memory and --memspec take it",
    );
    misused(
        "snapshot lab sn01 --internal --diskspec vda,file=/x",
        "error: a snapshot is either internal or external, and these options ask for both\n\
         hint: --internal puts it inside the disks' qcow2 files, --external beside them",
    );
    misused(
        "snapshot lab sn01 --diskspec vda --diskspec vda,snapshot=no",
        "error: --diskspec is given twice for disk `vda`\n\
         hint: put all that you want of it into one: --diskspec vda,snapshot=external,file=PATH",
    );
}

#[test]
fn list_and_current_say_when_there_is_nothing() {
    Test::new().args(["list"]).stdout("no machines\n").run();
    Test::new().args(["list", "--json"]).stdout("[]\n").run();
    Test::new().args(["list", "--name"]).run();
    for verb in ["list", "info", "current"] {
        Test::new()
            .args([verb, "lab"])
            .status(1)
            .stderr("error: there is no machine `lab` on fake:state.json\nhint: `snaptree tree` lists what there is\n")
            .run();
    }
}

#[test]
fn list_selects_and_draws_snapshots() {
    let lab = lab();
    lab.again().args(["list"]).stdout("NAME  STATE    SNAPSHOTS  CURRENT\nlab   shutoff          2  base\n").run();
    lab.again().args(["list", "lab", "--name"]).stdout("base\nchild\n").run();
    lab.again().args(["list", "lab", "--name", "--leaves", "--topological"]).stdout("child\n").run();
    lab.again().args(["list", "lab", "--name", "--current"]).stdout("child\n").run();
    lab.again().args(["list", "lab", "--name", "--active", "--disk-only"]).run();
    lab.again().args(["list", "lab", "--internal"]).stdout("no snapshots\n").run();
    lab.again().args(["list", "lab", "--tree", "--current"]).stdout("base (current)\n  |\n  +- child\n").run();
    lab.again().args(["list", "lab", "--tree", "--from", "child"]).stdout("child\n").run();
    lab.again().args(["current", "lab"]).stdout("base\n").run();
    let table = lab.again().args(["list", "lab", "--parent"]).any_stdout().run().stdout;
    let words: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["NAME", "CREATION", "TIME", "STATE", "KIND", "PARENT", "COMMENT"]);
    assert_eq!((words[1][0], &words[1][5..]), ("base", ["shutoff", "external", "-", "fresh"].as_slice()));
    assert_eq!((words[2][0], &words[2][4..]), ("child", ["shutoff", "external", "base"].as_slice()));
}

#[test]
fn log_shows_what_made_a_snapshot() {
    let lab = lab();
    let said = lab.again().args(["log", "lab/child"]).any_stdout().run().stdout;
    assert!(said.starts_with("1: write /etc/motd, 6 bytes (8e4c7c1b): "), "{said}");
    lab.again().args(["log", "lab", "--current"]).stdout("`lab/base` is a root: no operation made it\n").run();
    let json = lab.again().args(["log", "lab/child", "--json"]).any_stdout().run().stdout;
    let mut json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["operations"][0]["took"].take().is_u64());
    let operation = serde_json::json!({
        "number": 1, "operation": "write /etc/motd, 6 bytes (8e4c7c1b)", "took": null, "outcome": "done",
    });
    let log = serde_json::json!({ "machine": "lab", "name": "child", "inputs": {}, "operations": [operation], "failed": null });
    assert_eq!(json, log);
}

#[test]
fn images_lists_and_removes_what_the_cache_has() {
    Test::new().no_connect().args(["images"]).stdout("no images\n").run();
    Test::new().no_connect().args(["images", "list", "--json"]).stdout("[]\n").run();
    Test::new()
        .no_connect()
        .args(["images", "remove", "tiny"])
        .status(1)
        .stderr("error: the cache has no image `tiny`\nhint: the cache is empty\n")
        .run();
}

#[test]
fn quiet_says_nothing_and_verbose_shows_output() {
    let lab = lab();
    lab.again().args(["--quiet", "run", "script.lua"]).run();
    Test::new()
        .script(
            r#"
            local vm = machine("lab", { image = require "images.tiny" {} })
            vm:root("base"):branch("child", function(guest) guest:run "noisy" end)
            "#,
        )
        .answers(serde_json::json!([{ "command": "noisy", "stdout": "one\ntwo" }]))
        .args(["-v", "run", "script.lua"])
        .stderr(
            r#"
            base: building, because it does not exist yet.
            base: built in [TIME].
            child: building, because it does not exist yet.
            child: booted in [TIME].
            child: 1: run "noisy"
            child | one
            child | two
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
fn stubs_are_written_for_editors() {
    let written = |directory: &str| format!("Wrote 17 files into `{directory}`.\n");
    let test = Test::new().no_connect();
    test.again().args(["stubs"]).stderr(&written(".snaptree/meta")).run();
    let file = |name: &str| std::fs::read_to_string(test.path().join(name));
    for (name, part) in [
        ("snapshot.lua", "function Snapshot:branch(name, step, options) end"),
        ("images/debian.lua", "---@meta images.debian"),
    ] {
        assert!(file(&format!(".snaptree/meta/{name}")).unwrap().contains(part), "{name}");
    }
    assert!(file(".snaptree/meta/prompt.lua").is_err(), "a script has nothing of the prompt");

    let stale = "---@meta _\n-- Written by `snaptree stubs`. Of an older version.\n";
    test.again()
        .file("types/host.lua", stale)
        .file("types/mine.lua", "return 1\n")
        .args(["stubs", "types"])
        .stderr(&written("types"))
        .run();
    assert!(file("types/host.lua").unwrap().contains("function host.read(path) end"));
    assert_eq!(file("types/mine.lua").unwrap(), "return 1\n");
}

#[test]
fn stubs_replace_no_foreign_file() {
    let test = Test::new().no_connect().file("types/snapshot.lua", "return 1\n");
    test.again()
        .args(["stubs", "types"])
        .status(1)
        .stderr(
            "
            error: `types/snapshot.lua` was not written by `snaptree stubs`
            hint: choose another directory, or move the file
            ",
        )
        .run();
    assert_eq!(std::fs::read_to_string(test.path().join("types/snapshot.lua")).unwrap(), "return 1\n");
    assert!(!test.path().join("types/apt.lua").exists(), "nothing is written");
}

#[test]
fn a_trace_says_what_took_how_long() {
    let lab = lab();
    let file = lab.path().join("trace.json");
    lab.again().env("SNAPTREE_TRACE", &file).args(["exec", "lab/child", "--", "true"]).any_stderr().run();
    let events: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let find = |name: &str| events.iter().find(|event| event["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    let whole = find("snaptree");
    for name in ["connect", "create overlays", "start clone", "wait for the guest", "destroy the clone"] {
        let part = find(name);
        let end = |event: &serde_json::Value| event["ts"].as_f64().unwrap() + event["dur"].as_f64().unwrap();
        assert!(part["ts"].as_f64() >= whole["ts"].as_f64() && end(part) <= end(whole), "{part} {whole}");
    }
    let nowhere = lab.again().env("SNAPTREE_TRACE", "/no/where").args(["tree"]).status(1);
    nowhere.stderr("error: cannot write the trace `/no/where`: No such file or directory\n").run();
}
