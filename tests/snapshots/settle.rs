//! What a killed snaptree left half done, which the next change settles.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::web::Web;

/// A change of `web`, with its entry for `undo` as it is while the change is under way.
struct HalfDone {
    web: Web,
    before: Value,
    after: Value,
    entry: PathBuf,
}

impl HalfDone {
    /// Makes a change and what is written down about it unfinished.
    fn new(web: Web, args: &str, unfinished: impl Fn(&Value) -> Value) -> Self {
        let before = state(&web);
        web.does(args);
        let after = state(&web);
        let undo_log = web.test.path().join("store/machines/web-18555bd62397455397bb0fe30a65fe01/undo");
        let newest = fs::read_dir(undo_log).expect("a shelf").flatten().map(|entry| entry.path());
        let newest = newest.filter(|path| path.extension().is_some_and(|ending| ending == "json")).max();
        let entry = newest.expect("an entry");
        let mut written: Value = serde_json::from_slice(&fs::read(&entry).expect("an entry")).expect("JSON");
        written["unfinished"] = unfinished(&after);
        fs::write(&entry, written.to_string()).expect("cannot write the entry");
        Self { web, before, after, entry }
    }

    /// A revert that had made these files.
    fn revert(web: Web, args: &str) -> Self {
        Self::new(web, args, |after| {
            let made = &after["domains"]["web"]["document"]["disks"]["vda"];
            json!({ "made": [made], "disks": [made], "current": "sn01" })
        })
    }

    fn made(&self) -> PathBuf {
        self.after["domains"]["web"]["document"]["disks"]["vda"].as_str().expect("a file").into()
    }

    fn kept_ram(&self) -> PathBuf {
        let memories = self.after["memories"].as_object().expect("RAM").keys().map(PathBuf::from);
        memories.filter(|path| path.to_string_lossy().contains("/present-")).max().expect("kept RAM")
    }

    /// Brings the domain into the state in which the kill found it.
    fn killed_with(&self, domain: &Value) {
        let mut state = self.after.clone();
        state["domains"]["web"] = domain.clone();
        fs::write(self.web.test.path().join("state.json"), state.to_string()).expect("cannot write the state");
    }

    /// Makes the next change, which says what was settled.
    #[track_caller]
    fn settled(&self, said: &str) {
        let run = self.web.run("edit web/sn01 --comment next");
        run.stderr(&format!("{said}Changed snapshot `sn01` of `web`.\n")).run();
    }
}

fn state(web: &Web) -> Value {
    serde_json::from_str(&fs::read_to_string(web.test.path().join("state.json")).expect("a state")).expect("JSON")
}

fn with_two() -> Web {
    let web = Web::running().with("domains/web/ram", json!({ "/run/pid": "7" }));
    web.does("snapshot web sn01 --disk-only");
    web.does("snapshot web sn02 --disk-only");
    web
}

const TAKEN_BACK: &str = "rolled back interrupted `revert to sn01` on `web`.\n";

#[test]
fn a_revert_that_had_stopped_the_guest_is_taken_back() {
    let half = HalfDone::revert(with_two(), "revert web/sn01 --yes");
    let mut stopped = half.before["domains"]["web"].clone();
    stopped["state"] = json!("shutoff");
    stopped.as_object_mut().expect("a domain").remove("ram");
    half.killed_with(&stopped);
    assert!(half.made().exists() && half.kept_ram().exists());
    half.settled(TAKEN_BACK);

    let now = state(&half.web);
    assert_eq!(now["domains"]["web"]["state"], "running");
    assert_eq!(now["domains"]["web"]["ram"], half.before["domains"]["web"]["ram"]);
    assert_eq!(now["domains"]["web"]["document"], half.before["domains"]["web"]["document"]);
    assert_eq!(now["domains"]["web"]["current"], "sn02");
    assert_eq!(now["started"], json!([]), "it was resumed");
    assert!(!half.made().exists() && !half.kept_ram().exists() && !half.entry.exists());
}

#[test]
fn a_revert_that_had_only_made_files_is_taken_back() {
    let half = HalfDone::revert(with_two(), "revert web/sn01 --yes");
    half.killed_with(&half.before["domains"]["web"]);
    fs::remove_file(half.kept_ram()).expect("cannot remove a file");
    half.settled(TAKEN_BACK);

    let mut expected = half.before["domains"]["web"].clone();
    expected["snapshots"]["sn01"]["comment"] = json!("next");
    assert_eq!(state(&half.web)["domains"]["web"], expected, "it ran on");
    assert!(!half.made().exists() && !half.entry.exists());
}

#[test]
fn a_revert_that_had_switched_the_disks_is_finished() {
    let half = HalfDone::revert(with_two(), "revert web/sn01 --yes");
    let mut switched = half.after["domains"]["web"].clone();
    switched["current"] = json!("sn02");
    half.killed_with(&switched);
    half.settled("");

    let now = state(&half.web);
    assert_eq!(now["domains"]["web"]["current"], "sn01");
    assert_eq!(now["domains"]["web"]["document"], half.after["domains"]["web"]["document"]);
    assert!(half.made().exists() && half.kept_ram().exists());
    half.web.run("undo web").stderr("Undid `revert to sn01` in `web`.\n").run();
    let back = state(&half.web);
    assert_eq!(back["domains"]["web"]["ram"], half.before["domains"]["web"]["ram"]);
    assert_eq!(back["domains"]["web"]["current"], "sn02");
}

#[test]
fn an_undo_that_was_interrupted_can_be_tried_again() {
    let web = with_two();
    web.does("revert web/sn01 --yes");
    let before = state(&web);
    let first = web.test.path().join("store/machines/web-18555bd62397455397bb0fe30a65fe01/undo/000001.json");
    let kept = fs::read(&first).expect("an entry");
    let half = HalfDone::new(web, "undo web", |after| {
        let disk = &after["domains"]["web"]["document"]["disks"]["vda"];
        json!({ "made": [], "disks": [disk], "current": "sn02" })
    });
    fs::write(&first, kept).expect("cannot write the entry");
    // The RAM that it was to resume goes last.
    let ram = before["memories"].as_object().expect("RAM").keys().next().expect("RAM").clone();
    fs::write(ram, "").expect("cannot write a file");
    let mut state_then = half.after.clone();
    state_then["memories"] = before["memories"].clone();
    state_then["domains"]["web"] = before["domains"]["web"].clone();
    fs::write(half.web.test.path().join("state.json"), state_then.to_string()).expect("cannot write the state");
    half.settled("rolled back interrupted `undo: revert to sn01` on `web`.\n");
    half.web.run("undo web").stderr("Undid `revert to sn01` in `web`.\n").run();
    assert_eq!(state(&half.web)["domains"]["web"]["ram"], json!({ "/run/pid": { "content": "Nw==" } }));
}

const NOTHING: fn(&Value) -> Value = |_| json!({ "made": [], "disks": [], "current": null });

#[test]
fn a_deletion_that_was_interrupted_is_finished_and_can_be_taken_back() {
    let web = with_two();
    web.does("snapshot web sn03 --disk-only");
    let whole = web.does("list web --tree").stdout;
    let half = HalfDone::new(web, "delete web/sn02 --children --yes", NOTHING);
    let mut one_gone = half.before["domains"]["web"].clone();
    one_gone["snapshots"].as_object_mut().expect("snapshots").remove("sn03");
    one_gone["current"] = json!("sn02");
    half.killed_with(&one_gone);
    half.settled("finished interrupted `delete sn02, sn03` on `web`.\n");
    assert_eq!(half.web.does("list web --tree").stdout, "sn01 (current)\n");
    half.web.does("undo web");
    assert_eq!(half.web.does("list web --tree").stdout, whole);
}

#[test]
fn a_return_of_deleted_snapshots_that_was_interrupted_can_be_tried_again() {
    let web = with_two();
    web.does("snapshot web sn03 --disk-only");
    let whole = web.does("list web --tree").stdout;
    web.does("delete web/sn02 --children --yes");
    let first = web.test.path().join("store/machines/web-18555bd62397455397bb0fe30a65fe01/undo/000001.json");
    let kept = fs::read(&first).expect("an entry");
    let half = HalfDone::new(web, "undo web", NOTHING);
    fs::write(&first, kept).expect("cannot write the entry");
    let mut one_back = half.after["domains"]["web"].clone();
    one_back["snapshots"].as_object_mut().expect("snapshots").remove("sn03");
    one_back["current"] = json!("sn01");
    half.killed_with(&one_back);
    half.settled("rolled back interrupted `undo: delete sn02, sn03` on `web`.\n");
    assert_eq!(half.web.does("list web --tree").stdout, "sn01 (current)\n");
    half.web.run("undo web").stderr("Undid `delete sn02, sn03` in `web`.\n").run();
    assert_eq!(half.web.does("list web --tree").stdout, whole);
}
