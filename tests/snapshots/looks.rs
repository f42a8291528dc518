//! What the commands show of a tree, and its metadata put in by hand.

use serde_json::{Value, json};

use super::session::grown;
use crate::support::web::{Web, without_ids};

#[test]
fn a_machine_is_shown_with_its_chain() {
    let web = Web::new().document("disks/sda", json!({ "device": "cdrom" }));
    web.does("snapshot web sn01");
    web.run("info web")
        .stdout(
            "
            Name:           web
            UUID:           18555bd6-2397-4553-97bb-0fe30a65fe01
            State:          shutoff
            Persistent:     yes
            Made by:        another tool
            CPUs:           1
            Memory:         512.0 MiB
            Snapshots:      1
            Current:        sn01
            Disk sda:       cdrom, raw, read-only
                            empty
            Disk vda:       disk, qcow2
                            0  0 B  [DIR]/vm/web.sn01
                            1  0 B  [DIR]/vm/web.qcow2
            ",
        )
        .run();
    let json: Value = serde_json::from_str(&web.does("info web --json").stdout).expect("JSON");
    let file = |path: &str| json!({ "path": path, "size": 0 });
    assert_eq!(
        json,
        json!({
            "name": "web",
            "uuid": "18555bd6-2397-4553-97bb-0fe30a65fe01",
            "state": "shutoff",
            "persistent": true,
            "snapshots": 1,
            "current": "sn01",
            "ours": false,
            "memory": 536_870_912,
            "cpus": 1,
            "disks": [
                {
                    "target": "sda", "device": "cdrom", "source": null, "format": "raw", "read_only": true,
                    "only": null, "next_source": null, "left_out": null, "chain": [],
                },
                {
                    "target": "vda", "device": "disk", "source": "[DIR]/vm/web.sn01", "format": "qcow2",
                    "read_only": false, "only": null, "next_source": null, "left_out": null,
                    "chain": [file("[DIR]/vm/web.sn01"), file("[DIR]/vm/web.qcow2")],
                },
            ],
            "undo": [],
            "failed": [],
            "forks": [],
        })
    );
}

#[test]
fn a_snapshot_is_shown_with_its_layers_and_its_ram() {
    let web = grown();
    let shown = web.does("info web/mariadb").stdout;
    let expected = "\
Name:           mariadb
Machine:        web
Current:        no
State:          disk-snapshot
Kind:           external
Parent:         sn02
Children:       0
Descendants:    0
Created:        2023-11-14 22:13:20 +0000
Comment:        -
Key:            -
Size:           0 B
RAM:            -
Disk vda:       external
                0  0 B  [DIR]/vm/web.sn02
                1  0 B  [DIR]/vm/web.sn01
                2  0 B  [DIR]/vm/web.qcow2
                overlay: [DIR]/vm/web.mariadb
";
    assert_eq!(shown, expected);
    let current = web.does("info web --current").stdout;
    assert_eq!(current, web.does("info web/postgresql").stdout);
    assert!(without_ids(&current).contains("  0 B  [DIR]/vm/sn02-ID-0.qcow2\n"), "{current}");
    assert_eq!(web.does("current web").stdout, "postgresql\n");

    let mut json: Value = serde_json::from_str(&web.does("info web/sn02 --json").stdout).expect("JSON");
    // It was the current one once: it names what the machine wrote to then.
    let overlay = json["disks"][0]["overlay"].take();
    assert_eq!(without_ids(overlay.as_str().expect("an overlay")), "[DIR]/vm/sn02-ID-0.qcow2");
    assert!(json["size"].take().as_u64().is_some());
    let file = |path: &str| json!({ "path": path, "size": 0 });
    assert_eq!(
        json,
        json!({
            "machine": "web",
            "name": "sn02",
            "operations": [],
            "parent": "sn01",
            "children": ["mariadb", "postgresql"],
            "descendants": 2,
            "comment": "",
            "created": 1_700_000_000,
            "state": "running",
            "current": false,
            "kind": "external",
            "live": true,
            "size": null,
            "key": null,
            "memory": "[DIR]/vm/web.sn02.ram",
            "restores": { "guests": 0, "clocks": 0, "generations": 0, "identities": 0 },
            "disks": [{
                "target": "vda",
                "kind": "external",
                "file": "[DIR]/vm/web.sn01",
                "overlay": null,
                "chain": [file("[DIR]/vm/web.sn01"), file("[DIR]/vm/web.qcow2")],
            }],
        })
    );
}

#[test]
fn lists_are_filtered_by_place_state_and_kind() {
    let web = grown();
    web.does("snapshot web inside --internal");
    let names = |filters: &str, names: &str| {
        assert_eq!(web.does(&format!("list web --name{filters}")).stdout.replace('\n', " ").trim_end(), names);
    };
    names("", "sn01 sn02 mariadb postgresql inside");
    names(" --topological", "sn01 sn02 mariadb postgresql inside");
    names(" --roots", "sn01");
    names(" --leaves", "mariadb inside");
    names(" --no-leaves", "sn01 sn02 postgresql");
    names(" --active", "sn02 inside");
    names(" --disk-only", "sn01 mariadb postgresql");
    names(" --inactive", "");
    names(" --active --disk-only --leaves", "mariadb inside");
    names(" --internal", "inside");
    names(" --external --leaves", "mariadb");
    names(" --internal --external --roots", "sn01");
    names(" --from sn02", "mariadb postgresql");
    names(" --from sn02 --descendants --no-leaves", "postgresql");
    names(" --current", "");
    web.run("list web --parent")
        .stdout(
            "
            NAME              CREATION TIME              STATE          KIND      PARENT      COMMENT
            sn01              2023-11-14 22:13:20 +0000  disk-snapshot  external  -           before the upgrade
            sn02              2023-11-14 22:13:20 +0000  running        external  sn01
            mariadb           2023-11-14 22:13:20 +0000  disk-snapshot  external  sn02
            postgresql        2023-11-14 22:13:20 +0000  disk-snapshot  external  sn02
            inside (current)  2023-11-14 22:13:20 +0000  running        internal  postgresql
            ",
        )
        .run();
    web.run("list web --from sn03")
        .status(1)
        .stderr("error: there is no snapshot `sn03` in `web`\nhint: did you mean `sn02`?\n")
        .run();
}

#[test]
fn a_machine_without_a_current_snapshot_says_so() {
    let none = "machine `web` has no current snapshot\nhint: `snaptree list web` lists the ones that it has";
    Web::new()
        .refuses("current web", none)
        .refuses("info web --current", none)
        .refuses("list web --current", none)
        .refuses("revert web --current --yes", none)
        .refuses("delete web --current --yes", none);
}

#[test]
fn a_log_says_that_no_script_made_a_snapshot() {
    let web = Web::new();
    web.does("snapshot web sn01");
    web.run("log web/sn01").stdout("no script made `web/sn01`: nothing is recorded of it\n").run();
    let log = json!({ "machine": "web", "name": "sn01", "inputs": {}, "operations": [], "failed": null });
    let printed = web.does("log web --current --json").stdout;
    assert_eq!(serde_json::from_str::<Value>(&printed).expect("JSON"), log);
}

#[test]
fn a_comment_is_changed_and_nothing_else() {
    let web = grown();
    let document = |web: &Web| serde_json::from_str::<Value>(&web.does("info web/sn02 --xml").stdout).expect("JSON");
    let mut before = document(&web);
    web.run("edit web/sn02 --comment").args(["two words"]).stderr("Changed snapshot `sn02` of `web`.\n").run();
    web.run("edit web/sn02 --comment").args(["two words"]).stderr("Snapshot `sn02` of `web` is unchanged.\n").run();
    before["snapshot"]["comment"] = json!("two words");
    assert_eq!(document(&web), before);
    assert_eq!(web.does("current web").stdout, "postgresql\n", "it stays the current one");
    web.run("edit web --current --comment new").stderr("Changed snapshot `postgresql` of `web`.\n").run();
    assert_eq!(web.does("current web").stdout, "postgresql\n", "it stays the current one");
}

#[test]
fn an_editor_changes_a_snapshot_and_what_is_refused_is_kept() {
    let web = grown();
    let edit = |args: &str, editor: &str| web.run(args).env("EDITOR", editor);
    edit("edit web/sn02", "true").stderr("Snapshot `sn02` of `web` is unchanged.\n").run();
    edit("edit web/sn02", r#"sed -i 's/"comment":""/"comment":"edited"/'"#)
        .stderr("Changed snapshot `sn02` of `web`.\n")
        .run();
    assert!(web.does("info web/sn02").stdout.contains("Comment:        edited\n"));
    edit("edit web/sn02", r#"sed -i 's/"name":"sn02"/"name":"copy"/'"#)
        .stderr("Added snapshot `copy` to the tree of `web`; `sn02` is unchanged.\n")
        .run();
    assert_eq!(web.does("list web --name --from sn01").stdout, "copy\nsn02\n");
    let state = web.does("list web --json").stdout;
    edit("edit web/sn02", "false")
        .status(1)
        .stderr(
            "
            error: the editor `false` failed; nothing was changed: exit status: 1
            hint: $VISUAL or $EDITOR says which editor to use; --comment needs none
            ",
        )
        .run();
    let ran = edit("edit web/sn02", r#"sed -i 's/"parent":"sn01"/"parent":"gone"/'"#).status(1).any_stderr().run();
    let (said, kept) = ran.stderr.split_once("hint: ").expect("a hint");
    assert_eq!(said, "error: there is no snapshot `gone` in `web`: `sn02` would be below it\n");
    let kept = kept.strip_prefix("add that one first, or remove `<parent>` to make a root; ").expect(kept);
    let kept = kept.trim_end().strip_prefix("your edits are kept in `[DIR]/").expect(kept).trim_end_matches('`');
    assert!(ran.read(kept).contains("\"parent\":\"gone\""));
    assert_eq!(web.does("list web --json").stdout, state);
}

#[test]
fn a_described_snapshot_is_taken() {
    let web = Web::running();
    let described = |document: Value, args: &str| web.run(args).stdin(web.here(&document.to_string()));
    let disks = json!({ "vda": { "overlay": "[DIR]/vm/chosen" } });
    described(
        json!({ "name": "sn01", "snapshot": { "comment": "as described", "disks": disks } }),
        "snapshot web --xml - --disk-only --atomic",
    )
    .stderr("Took snapshot `sn01` of `web`.\n")
    .run();
    let shown = web.does("info web/sn01").stdout;
    assert!(shown.contains("State:          disk-snapshot\n"), "{shown}");
    assert!(shown.contains("Comment:        as described\n"), "{shown}");
    assert!(shown.contains("overlay: [DIR]/vm/chosen\n"), "{shown}");
    described(json!({ "name": "sn02", "snapshot": { "disks": { "vda": "internal" } } }), "snapshot web --xml -")
        .stderr("Took snapshot `sn02` of `web`.\n")
        .run();
    assert!(web.does("info web/sn02").stdout.contains("RAM:            internal\n"));
    let unnamed = described(json!({ "name": "", "snapshot": { "disks": {} } }), "snapshot web --xml -");
    let ran = unnamed.any_stderr().run();
    let name = ran.stderr.strip_prefix("Took snapshot `").and_then(|said| said.strip_suffix("` of `web`.\n"));
    assert!(name.is_some_and(|name| name.parse::<u64>().is_ok()), "libvirt's own name is the time: {}", ran.stderr);
}

#[test]
fn a_snapshot_whose_metadata_was_deleted_is_put_back_by_its_description() {
    let web = grown();
    let document = web.does("info web/postgresql --xml").stdout;
    let whole = web.does("list web --json").stdout;
    web.does("delete web/postgresql --metadata --yes");
    assert_eq!(web.does("current web").stdout, "sn02\n");
    let redefine = |args: &str| {
        web.run(args).stdin(web.here(&document)).stderr("Added snapshot `postgresql` to the tree of `web`.\n").run();
    };
    redefine("snapshot web --xml - --redefine");
    assert_eq!(web.does("current web").stdout, "sn02\n");
    redefine("snapshot web --xml - --redefine --current");
    assert_eq!(web.does("list web --json").stdout, whole);
    redefine("snapshot web --xml - --redefine");
    assert_eq!(web.does("list web --json").stdout, whole, "the current one stays that");
}
