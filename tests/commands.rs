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
    let snapshot = |name, parent: Option<&str>, comment, current, operations: &[&str]| {
        serde_json::json!({
            "name": name, "parent": parent, "comment": comment, "created": null, "state": "shutoff",
            "current": current, "key": null, "operations": operations,
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
            hint: give --yes to do it without being asked
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
