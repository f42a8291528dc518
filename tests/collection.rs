//! Which files `gc` and `delete` remove, and what they say about those that they leave.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::web::{Web, contents};
use crate::support::{Ran, Test, terminal};

/// A domain with `sn01` as it is and `sn02` deleted: `web.sn01` and `web.sn02` are to go.
fn deleted(web: Web) -> Web {
    web.does("snapshot web sn01");
    web.does("snapshot web sn02");
    web.does("revert web/sn01 --yes");
    web.does("delete web/sn02 --yes");
    web
}

/// Changes the fake hypervisor's state.
fn change(directory: &Path, change: impl FnOnce(&mut Value)) {
    let path = directory.join("state.json");
    let mut state: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut state);
    fs::write(path, state.to_string()).unwrap();
}

/// Adds an image that another tool made.
fn with_image(web: Web, file: &str, layer: Value) -> Web {
    let web = web.file(file);
    let layer: Value = serde_json::from_str(&web.here(&layer.to_string())).unwrap();
    let path = web.test.path().join(file);
    change(web.test.path(), |state| state["layers"][path.to_str().unwrap()] = layer);
    web
}

fn is_there(web: &Web, file: &str) -> bool {
    web.test.path().join(file).exists()
}

#[track_caller]
fn gc(web: &Web, stderr: &str) {
    web.run("gc web --yes").stderr(stderr).run();
}

/// Only `web.sn02` is removed, and the layer is left for this reason, again and again.
#[track_caller]
fn leaves_the_layer(web: &Web, why: &str) {
    gc(web, &format!("Removed `[DIR]/vm/web.sn02` (0 B).\nLeft `[DIR]/vm/web.sn01`: {why}.\nFreed 0 B of `web`.\n"));
    assert!(is_there(web, "vm/web.sn01") && !is_there(web, "vm/web.sn02"));
    gc(web, &format!("Left `[DIR]/vm/web.sn01`: {why}.\nFreed 0 B of `web`.\n"));
}

#[track_caller]
fn leaves_both(web: &Web, why: &str) {
    let left = format!("Left `[DIR]/vm/web.sn01`: {why}.\nLeft `[DIR]/vm/web.sn02`: {why}.\nFreed 0 B of `web`.\n");
    gc(web, &left);
    gc(web, &left);
    assert!(is_there(web, "vm/web.sn01") && is_there(web, "vm/web.sn02"));
}

#[test]
fn what_nothing_depends_on_goes_and_there_is_nothing_to_give_up_then() {
    let web = deleted(Web::new());
    gc(&web, "Removed `[DIR]/vm/web.sn01` (0 B).\nRemoved `[DIR]/vm/web.sn02` (0 B).\nFreed 0 B of `web`.\n");
    assert!(!is_there(&web, "vm/web.sn01") && is_there(&web, "vm/web.qcow2"));
    gc(&web, "There is nothing to delete.\n");
}

#[test]
fn a_machine_that_goes_meanwhile_keeps_no_other_from_being_collected() {
    let early = json!({ "document": { "disks": { "vda": "[DIR]/vm/early.qcow2" } } });
    let web = deleted(Web::new()).again_with("domains/early", early).file("vm/early.qcow2");
    web.does("snapshot early sn01");
    web.does("delete early/sn01 --yes");
    let mut session = terminal::open(&web.test.again().args(["gc"]), "$SNAPTREE; echo status $?");
    session.exp_string("[y/N] ").unwrap();
    change(web.test.path(), |state| drop(state["domains"].as_object_mut().unwrap().remove("early")));
    terminal::type_in(&mut session, "y\r");
    session.exp_string("status 0").unwrap();
    assert!(!is_there(&web, "vm/web.sn02"));
}

#[test]
fn a_domain_depends_on_a_file_by_whatever_path() {
    let web = deleted(Web::new());
    symlink("vm", web.test.path().join("link")).unwrap();
    let web = with_image(web, "b.qcow2", json!({ "backing": "[DIR]/link/../link/web.sn01", "has_file": true }));
    let domain = json!({ "document": { "disks": { "vda": "[DIR]/b.qcow2" } } });
    let web = web.again_with("domains/b", domain);
    leaves_the_layer(&web, "domain `b` depends on it");
    // When that is gone, the file is removed without another question.
    let web = web.again_with("domains/b", Value::Null);
    fs::remove_file(web.test.path().join("b.qcow2")).unwrap();
    web.run("gc").stderr("Removed `[DIR]/vm/web.sn01` (0 B).\nFreed 0 B of `web`.\n").run();
}

#[test]
fn the_machines_own_directory_may_be_named_by_a_link() {
    let web = Web::new();
    symlink("vm", web.test.path().join("link")).unwrap();
    let web = deleted(web.document("disks/vda", json!("[DIR]/link/web.qcow2")));
    let web = with_image(web, "b.qcow2", json!({ "backing": "[DIR]/vm/web.sn01", "has_file": true }));
    let web = web.again_with("domains/b", json!({ "document": { "disks": { "vda": "[DIR]/b.qcow2" } } }));
    gc(
        &web,
        "Removed `[DIR]/link/web.sn02` (0 B).\nLeft `[DIR]/link/web.sn01`: domain `b` depends on it.\nFreed 0 B of `web`.\n",
    );
    assert!(is_there(&web, "vm/web.sn01"));
}

#[test]
fn an_image_that_no_domain_knows_depends_on_a_file() {
    let web = deleted(Web::new());
    let web = with_image(web, "vm/theirs", json!({ "backing": "[DIR]/vm/web.sn01", "has_file": true }));
    leaves_the_layer(&web, "`[DIR]/vm/theirs` depends on it");
}

#[test]
fn a_snapshot_of_another_domain_depends_on_a_file() {
    let web = deleted(Web::new());
    let snapshot = json!({ "disks": { "vda": "external" }, "document": { "disks": { "vda": "[DIR]/vm/web.sn01" } } });
    let b = json!({ "document": { "disks": { "vda": "[DIR]/vm/b" } }, "snapshots": { "s": snapshot } });
    let web = web.again_with("domains/b", b);
    leaves_the_layer(&web, "domain `b` depends on it");
}

#[test]
fn a_domain_of_another_connection_depends_on_a_file() {
    let web = deleted(Web::new());
    let web = web.again_with("neighbours", json!({ "qemu:///session": { "b": ["[DIR]/vm/web.sn01"] } }));
    leaves_the_layer(&web, "domain `b` of `qemu:///session` depends on it");
}

#[test]
fn where_a_connection_does_not_tell_nothing_is_removed() {
    let web = deleted(Web::new());
    let web = web.again_with("neighbours", json!({ "qemu:///system": "no answer within 5 seconds" }));
    leaves_both(
        &web,
        "a domain of `qemu:///system`, which does not tell (no answer within 5 seconds), may depend on it",
    );
}

#[test]
fn where_an_image_cannot_be_read_nothing_is_removed() {
    let web = deleted(Web::new());
    let web = with_image(web, "vm/theirs", json!({ "damaged": true, "has_file": true }));
    leaves_both(&web, "`[DIR]/vm/theirs`, which cannot be read, may depend on it");
}

#[test]
fn a_file_with_another_name_stays() {
    let web = deleted(Web::new());
    fs::hard_link(web.test.path().join("vm/web.sn01"), web.test.path().join("other")).unwrap();
    leaves_the_layer(&web, "it has another name, by a hard link");
}

#[test]
fn a_file_that_took_the_place_of_snaptrees_own_stays() {
    let web = deleted(Web::new()).file("vm/new");
    fs::rename(web.test.path().join("vm/new"), web.test.path().join("vm/web.sn01")).unwrap();
    leaves_the_layer(&web, "it is not the file that snaptree made there");
}

#[test]
fn a_link_in_the_place_of_a_file_stays_with_what_it_leads_to() {
    let web = deleted(Web::new());
    let moved = web.test.path().join("moved");
    fs::rename(web.test.path().join("vm/web.sn01"), &moved).unwrap();
    symlink(&moved, web.test.path().join("vm/web.sn01")).unwrap();
    leaves_the_layer(&web, "it is a symbolic link");
    assert!(moved.exists());
}

#[test]
fn a_file_that_a_process_has_open_stays() {
    let web = deleted(Web::new());
    let open = fs::File::open(web.test.path().join("vm/web.sn01")).unwrap();
    let command = fs::read_to_string("/proc/self/comm").unwrap();
    let why = format!("process {} (`{}`) has it open", std::process::id(), command.trim());
    leaves_the_layer(&web, &why);
    drop(open);
    gc(&web, "Removed `[DIR]/vm/web.sn01` (0 B).\nFreed 0 B of `web`.\n");
}

#[test]
fn what_stays_keeps_what_it_depends_on() {
    let web = Web::new();
    for name in ["sn01", "sn02", "sn03"] {
        web.does(&format!("snapshot web {name}"));
    }
    web.does("revert web/sn01 --yes");
    web.does("delete web/sn02 --children --yes");
    fs::hard_link(web.test.path().join("vm/web.sn02"), web.test.path().join("other")).unwrap();
    gc(
        &web,
        "
        Removed `[DIR]/vm/web.sn03` (0 B).
        Left `[DIR]/vm/web.sn01`: `[DIR]/vm/web.sn02` depends on it.
        Left `[DIR]/vm/web.sn02`: it has another name, by a hard link.
        Freed 0 B of `web`.
        ",
    );
}

/// A snapshot that another tool made, with this overlay, is deleted.
fn without_their_snapshot(overlay: &str) -> Web {
    let snapshot = json!({ "disks": { "vda": { "overlay": overlay } } });
    let web = Web::new().file("vm/web.virsh").file("vm/passwd").snapshot("s", snapshot);
    let layers = json!({ "[DIR]/vm/web.virsh": { "backing": "[DIR]/vm/web.qcow2", "has_file": true } });
    let web = web.with("layers", layers);
    web.does("delete web/s --yes");
    web
}

#[test]
fn an_overlay_that_libvirt_made_for_another_tool_stays() {
    let web = without_their_snapshot("[DIR]/vm/web.virsh");
    let left = "Left `[DIR]/vm/web.virsh`: snaptree did not make it.\nFreed 0 B of `web`.\n";
    gc(&web, left);
    gc(&web, left);
    assert!(is_there(&web, "vm/web.virsh"));
}

#[test]
fn a_document_that_names_any_file_as_an_overlay_does_not_get_it_removed() {
    let web = without_their_snapshot("[DIR]/vm/passwd");
    gc(&web, "Left `[DIR]/vm/passwd`: snaptree did not make it.\nFreed 0 B of `web`.\n");
    // Nor does a name that looks like one of ours, somewhere else.
    let web =
        without_their_snapshot("[DIR]/elsewhere/root-0123456789ab-0.qcow2").file("elsewhere/root-0123456789ab-0.qcow2");
    gc(&web, "Left `[DIR]/elsewhere/root-0123456789ab-0.qcow2`: snaptree did not make it.\nFreed 0 B of `web`.\n");
    assert!(is_there(&web, "elsewhere/root-0123456789ab-0.qcow2"));
}

#[test]
fn files_of_versions_that_recorded_nothing_are_known_by_their_names() {
    let web = deleted(Web::new());
    web.does("revert web/sn01 --yes");
    let machines = web.test.path().join("store/machines");
    let directory = fs::read_dir(machines).unwrap().next().unwrap().unwrap().path();
    fs::remove_dir_all(directory.join("made")).unwrap();
    let ran = web.does("gc web --yes");
    let left =
        "Left `[DIR]/vm/web.sn01`: snaptree did not make it.\nLeft `[DIR]/vm/web.sn02`: snaptree did not make it.\n";
    assert!(ran.stderr.contains(left), "{}", ran.stderr);
    assert!(ran.stderr.contains("Removed `[DIR]/vm/sn01-"), "{}", ran.stderr);
}

/// A machine of ours, with the directory of its files.
fn machine() -> (Ran, PathBuf) {
    let script = "machine('lab', { image = require 'images.tiny' {} }):root('base'):branch('one', function() end)";
    let ran = Test::new().script(script).args(["run", "script.lua"]).any_stderr().run();
    let machines = ran.path().join("store/machines");
    let directory = fs::read_dir(machines).unwrap().next().unwrap().unwrap().path();
    (ran, directory)
}

fn layer(directory: &Path, what: &str) -> PathBuf {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let is_it = |file: &PathBuf| file.file_name().unwrap().to_str().unwrap().starts_with(what);
    files.into_iter().find(is_it).unwrap_or_else(|| panic!("no {what}"))
}

#[test]
fn a_machine_whose_layer_another_domain_depends_on_is_not_deleted() {
    let (ran, directory) = machine();
    let clone = ran.path().join("b.qcow2");
    fs::write(&clone, "").unwrap();
    let layer = layer(&directory, "one-");
    change(ran.path(), |state| {
        state["layers"][clone.to_str().unwrap()] = json!({ "backing": layer, "has_file": true });
        state["domains"]["b"] = json!({ "document": { "disks": { "vda": clone } } });
    });
    let before = contents(ran.path());
    for args in [&["delete", "lab", "--yes"][..], &["delete", "lab", "--yes", "--force"]] {
        let refused = ran.again().args(args.iter().copied()).status(1).any_stderr().run();
        let name = layer.file_name().unwrap().to_str().unwrap();
        assert!(
            refused.stderr.starts_with("error: cannot delete machine `lab`: domain `b` depends on `"),
            "{}",
            refused.stderr
        );
        let hint = "hint: delete what depends on it first, or make that stand alone: `qemu-img convert` copies an image whole\n";
        assert!(refused.stderr.ends_with(hint) && !name.is_empty(), "{}", refused.stderr);
    }
    assert_eq!(before.len(), contents(ran.path()).len());
    assert!(before.iter().all(|(path, content)| fs::read(path).unwrap() == *content), "something changed");
    change(ran.path(), |state| drop(state["domains"].as_object_mut().unwrap().remove("b")));
    fs::remove_file(clone).unwrap();
    ran.again().args(["delete", "lab", "--yes"]).any_stderr().run();
    assert!(!directory.exists());
}

#[test]
fn what_the_user_put_into_a_machines_directory_survives_it() {
    let (ran, directory) = machine();
    fs::write(directory.join("notes.txt"), "mine").unwrap();
    fs::create_dir(directory.join("theirs")).unwrap();
    symlink(ran.path(), directory.join("link")).unwrap();
    let deleted = ran.again().args(["delete", "lab", "--yes"]).any_stderr().run();
    let left: Vec<&str> = deleted.stderr.lines().filter(|line| line.starts_with("left ")).collect();
    let why = ["it is a symbolic link", "snaptree did not make it", "snaptree did not make it"];
    assert!(
        left.len() == 3 && left.iter().zip(why).all(|(line, why)| line.ends_with(&format!(": {why}."))),
        "{left:?}"
    );
    let mut names: Vec<String> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["link", "notes.txt", "theirs"]);
    assert_eq!(fs::read(directory.join("notes.txt")).unwrap(), b"mine");
}

#[test]
fn a_machines_directory_that_is_a_link_is_not_followed() {
    let (ran, directory) = machine();
    let moved = ran.path().join("moved");
    fs::rename(&directory, &moved).unwrap();
    symlink(&moved, &directory).unwrap();
    let before = contents(&moved);
    ran.again().args(["delete", "lab", "--yes"]).any_stderr().run();
    assert_eq!(contents(&moved).len(), before.len());
    assert!(directory.is_symlink());
}

#[test]
fn a_copy_of_a_machines_description_does_not_own_its_directory() {
    let (ran, directory) = machine();
    change(ran.path(), |state| {
        let mut copy = state["domains"]["lab"].clone();
        copy["document"]["name"] = json!("copy");
        copy["document"]["uuid"] = json!("11111111-2222-3333-4444-555555555555");
        copy["snapshots"] = json!({});
        copy["current"] = Value::Null;
        state["domains"]["copy"] = copy;
    });
    let before = contents(&directory);
    let refused = ran.again().args(["delete", "copy", "--yes"]).status(1).any_stderr().run();
    assert!(refused.stderr.starts_with("error: snaptree did not create the domain `copy`"), "{}", refused.stderr);
    // A snapshot of the copy takes nothing for debris that belongs to the machine.
    ran.again().args(["snapshot", "copy", "s"]).any_stderr().run();
    ran.again().args(["gc", "copy", "--yes"]).any_stderr().run();
    assert!(before.iter().all(|(path, content)| fs::read(path).is_ok_and(|now| now == *content)));
}
