//! Which files stay, and when the others are removed.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::web::{Web, contents, without_ids};

/// Lists the files in a directory of the test, without the ids of the processes that made them.
fn files(web: &Web, directory: &str) -> Vec<String> {
    let root = web.test.path().join(directory);
    if !root.exists() {
        return Vec::new();
    }
    let names = contents(&root).into_keys().map(|path| {
        without_ids(&path.strip_prefix(&root).expect("it is below").display().to_string()).replace("web-18555bd6/", "")
    });
    names.collect()
}

fn numbers(web: &Web) -> Vec<u64> {
    let json: Value = serde_json::from_str(&web.does("undo web --list --json").stdout).expect("JSON");
    json.as_array().expect("a list").iter().map(|entry| entry["number"].as_u64().expect("a number")).collect()
}

/// Makes eight changes that keep no file, so that all that was kept before is forgotten.
fn forget_all(web: &Web) {
    let changes = "
        for n = 1, 8 do
          web:snapshot('y' .. n, { kind = 'internal' })
          web:find('y' .. n):delete()
        end
    ";
    web.script(changes).run();
}

#[test]
fn eight_changes_are_kept_and_the_files_of_older_ones_go() {
    let web = Web::running();
    web.does("snapshot web sn01 --disk-only");
    web.script("for n = 1, 11 do web:find 'sn01':revert { running = true } end").run();
    assert_eq!(numbers(&web), (4..=11).collect::<Vec<_>>());
    let kept = |what: &str, from: usize| files(&web, "vm").iter().filter(|file| file.starts_with(what)).count() - from;
    assert_eq!(kept("sn01-ID-", 1), 8, "an overlay for each change, and the present one");
    assert_eq!(files(&web, "vm").len(), 10, "{:?}", files(&web, "vm"));
    let ram = |file: &&String| file.ends_with(".ram");
    assert_eq!(files(&web, "store/machines").iter().filter(ram).count(), 8);

    web.does("delete web/sn01 --yes");
    forget_all(&web);
    let chain: Value = serde_json::from_str(&web.does("info web --json").stdout).expect("JSON");
    let chain: BTreeSet<String> = chain["disks"][0]["chain"]
        .as_array()
        .expect("a chain")
        .iter()
        .map(|file| without_ids(file["path"].as_str().expect("a path")).replace("[DIR]/vm/", ""))
        .collect();
    assert_eq!(files(&web, "vm").into_iter().collect::<BTreeSet<_>>(), chain, "the domain's own");
    assert_eq!(chain.len(), 2);
    let left: Vec<String> =
        files(&web, "store").into_iter().filter(|file| !file.contains("undo/") && !file.contains("made/")).collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_deleted_snapshot_gives_its_ram_up_once_it_is_forgotten() {
    let web = Web::running();
    web.does("snapshot web sn01");
    web.does("snapshot web sn02");
    web.does("delete web/sn01 --children --yes");
    assert_eq!(files(&web, "vm"), ["web.qcow2", "web.sn01", "web.sn01.ram", "web.sn02", "web.sn02.ram"]);
    forget_all(&web);
    assert_eq!(files(&web, "vm"), ["web.qcow2", "web.sn01", "web.sn02"], "the machine's backing layers stay");
}

#[test]
fn the_files_of_deleted_metadata_stay_for_good() {
    let web = Web::running();
    web.does("snapshot web sn01");
    web.does("revert web/sn01 --yes");
    web.does("delete web/sn01 --metadata --yes");
    web.does("undo web");
    web.does("undo web");
    assert_eq!(web.does("list web --name").stdout, "");
    forget_all(&web);
    let stay = files(&web, "vm");
    assert!(stay.contains(&"web.sn01.ram".to_string()), "{stay:?}");
}

#[test]
fn a_snapshot_that_fails_leaves_no_file() {
    let lost = serde_json::json!({ "[DIR]/vm/web.qcow2": { "backing": "[DIR]/vm/gone" }, "[DIR]/vm/gone": { "has_file": true } });
    Web::new()
        .with("layers", lost)
        .file("store/made-before")
        .refuses("snapshot web sn01", "cannot take snapshot `sn01` of `web`: `[DIR]/vm/gone` is gone");
}

#[test]
fn overlays_have_names_of_their_own() {
    let web = Web::new()
        .document("disks/vdb", serde_json::json!({ "file": "[DIR]/vm/web.raw", "format": "raw" }))
        .file("vm/web.raw")
        .file("vm/web.sn02");
    web.does("snapshot web sn01");
    web.does("snapshot web sn02");
    assert_eq!(
        files(&web, "vm"),
        ["web.qcow2", "web.raw", "web.sn01", "web.sn01-2", "web.sn02", "web.sn02-2", "web.sn02-3"]
    );
}
