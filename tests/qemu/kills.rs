//! Runs that are killed at random moments: the tree holds only complete nodes, and the next run continues from there.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use super::foreign::between;
use super::lab::Lab;

const SEED: u64 = 47_114_711;
/// The status of a run that SIGKILL ended.
const KILLED: i32 = 128 + 9;

/// A root and four branches; the round changes what all of the branches do. Every other round begins with nothing.
fn script(round: usize) -> String {
    format!(
        r#"
        local base = machine(MACHINE, {{ image = tiny {{}}, memory = "128MiB" }}):root "base"
        local a = base:branch("a", function(guest) guest:write("/root/a", "{round}") end)
        a:branches {{
          b = function(guest) guest:write("/root/b", "{round}") end,
          c = function(guest) guest:write("/root/c", "{round}") end,
        }}
        a:branch("d", function(guest) guest:write("/root/d", "{round}") end)
        "#
    )
}

/// The snapshots that virsh shows, each of which has its layer and the layer's backing files.
#[track_caller]
fn complete_nodes(lab: &Lab) -> BTreeSet<String> {
    if !lab.domains().contains(&lab.machine) {
        return BTreeSet::new();
    }
    let names = lab.virsh(&["snapshot-list", &lab.machine, "--name"]);
    let names: BTreeSet<String> = names.lines().filter(|name| !name.is_empty()).map(str::to_string).collect();
    for name in &names {
        let xml = lab.virsh(&["snapshot-dumpxml", &lab.machine, name]);
        let domain = &xml[xml.find("<domain ").unwrap()..];
        let layer = between(domain, "<source file='", "'").unwrap();
        // It fails when a file of the chain is missing or damaged.
        super::foreign::qemu_img(&["check", "-q", "-U", layer]);
        assert!(!super::foreign::chain(Path::new(layer)).is_empty());
    }
    names
}

/// The keys of the nodes, which identify those of a round.
fn keys(lab: &Lab) -> BTreeSet<(String, String)> {
    if !lab.domains().contains(&lab.machine) {
        return BTreeSet::new();
    }
    let json = lab.snaptree(&["tree", &lab.machine, "--format", "json"]).any_stdout().run().stdout;
    let trees: serde_json::Value = serde_json::from_str(&json).unwrap();
    let snapshots = trees[0]["snapshots"].as_array().unwrap().iter();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_string();
    snapshots.map(|snapshot| (text(&snapshot["name"]), text(&snapshot["key"]))).collect()
}

/// Counts the machines' directories that have files in them.
fn machines_with_files(lab: &Lab) -> usize {
    let machines = lab.store.join("machines");
    let files = lab.files();
    let directories = files.iter().filter_map(|file| file.strip_prefix(&machines).ok()?.components().next());
    directories.collect::<BTreeSet<_>>().len()
}

#[test]
#[ignore = "needs QEMU"]
fn kill_9_at_random_moments_leaves_complete_nodes_only() {
    let number =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default);
    let (kills, mut random) = (number("SNAPTREE_TEST_KILLS", 4) as usize, number("SNAPTREE_TEST_SEED", SEED));
    println!("{kills} kills, the seed is {random}: SNAPTREE_TEST_KILLS and SNAPTREE_TEST_SEED choose others");
    let lab = Lab::new("kills");
    let started = Instant::now();
    lab.script(&script(0)).any_stderr().run();
    let whole = started.elapsed();
    let mut killed = 0;
    for round in 1.. {
        if killed == kills {
            break;
        }
        if round % 2 == 0 {
            lab.snaptree(&["delete", &lab.machine, "--yes"]).any_stderr().run();
        }
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let moment = Duration::from_millis((random >> 33) % u64::try_from(whole.as_millis()).unwrap());
        let before = keys(&lab);
        let running = lab.script(&script(round)).any_stderr().any_status().start();
        std::thread::sleep(moment);
        let ended = running.signal("KILL").finish();
        // One that had ended already was not killed, and does not count.
        killed += usize::from(ended.status == KILLED);
        complete_nodes(&lab);
        let mut made = keys(&lab);
        made.retain(|node| node.0 == "base" || !before.contains(node));
        let names: Vec<&str> = made.iter().map(|(name, _)| name.as_str()).collect();
        println!("{round}: after {moment:?}, status {}, complete: {names:?}", ended.status);
        assert!(names.contains(&"base") || before.is_empty(), "{names:?}");

        let next = lab.script(&script(round)).any_stderr().run();
        for name in names {
            assert!(next.stderr.contains(&format!("{name}: cached.")), "`{name}` was complete: {}", next.stderr);
        }
        assert_eq!(complete_nodes(&lab), ["a", "b", "base", "c", "d"].map(String::from).into());
        lab.exec("d", &["cat", "/root/a", "/root/d"]).stdout(&format!("{round}{round}")).run();
        lab.assert_no_clone_is_left();
        assert_eq!(machines_with_files(&lab), 1, "a draft is left: {:?}", lab.files());
    }
    println!("{killed} runs were killed in {:?}", started.elapsed());
}

#[test]
#[ignore = "needs QEMU"]
fn what_is_left_of_a_trial_that_was_killed_goes_with_the_next() {
    let lab = Lab::new("trial");
    let doctor = || lab.snaptree(&["doctor"]).any_stdout().any_stderr();
    let running = doctor().any_status().start();
    let limit = Instant::now() + Duration::from_secs(60);
    while lab.processes().is_empty() {
        assert!(Instant::now() < limit, "no trial began");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(running.signal("KILL").finish().status, KILLED);
    assert!(doctor().run().stdout.contains("Live snapshots: mapped"));
    assert_eq!(lab.processes(), Vec::<String>::new());
    assert!(!lab.store.join("trial").exists());
}
