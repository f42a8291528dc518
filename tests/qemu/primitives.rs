//! Snapshots of a domain that snaptree did not create: taken, listed, reverted, deleted, undone, grown from.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use super::foreign::{Foreign, chain};
use super::lab::Lab;

/// A process that counts in its own memory and prints the count; the nonce is in its environment only.
const COUNTER: &str = "NONCE=n-4711 setsid sh -c 'i=0; while :; do i=$((i+1)); echo $$ $NONCE $i > /run/counter; usleep 100000; done' \
     > /dev/null 2>&1 < /dev/null & sleep 1";

fn counter(foreign: &Foreign) -> (String, u64) {
    let said = foreign.sh("cat /run/counter");
    let (process, count) = said.trim().rsplit_once(' ').unwrap();
    (process.to_string(), count.parse().unwrap())
}

#[test]
#[ignore = "needs QEMU"]
fn the_same_session_in_virsh_lua_and_the_command_line() {
    let lab = Lab::new("session");
    let foreign = Foreign::new(&lab);
    let name = foreign.name.as_str();
    foreign.assert_tree("", None);
    foreign.start();
    foreign.snaptree(&["snapshot", name, "sn01", "--comment", "test snap shot", "--disk-only", "--atomic"]);
    foreign.assert_tree("sn01\n", Some("sn01"));
    lab.virsh(&["snapshot-create-as", name, "sn02", "--disk-only", "--atomic"]);
    foreign.lua("dom:snapshot('one', { disk_only = true, atomic = true, comment = 'by a script' })");
    foreign.assert_tree("sn01\n  |\n  +- sn02\n      |\n      +- one\n", Some("one"));
    let info = lab.virsh(&["snapshot-dumpxml", name, "sn01"]);
    assert!(info.contains("<description>test snap shot</description>"), "{info}");

    foreign.snaptree(&["revert", &foreign.path("sn02"), "--yes"]);
    assert_eq!(foreign.state(), "shut off");
    foreign.assert_tree("sn01\n  |\n  +- sn02\n      |\n      +- one\n", Some("sn02"));
    lab.virsh(&["snapshot-create-as", name, "two", "--disk-only"]);
    let both = "sn01\n  |\n  +- sn02\n      |\n      +- one\n      +- two\n";
    foreign.assert_tree(both, Some("two"));
    foreign.lua("dom:find('sn02'):revert { running = true }");
    assert_eq!(foreign.state(), "running");
    foreign.assert_tree(both, Some("sn02"));
    let ours = foreign.snaptree(&["list", name, "--tree", "--current"]);
    let virsh = lab.virsh(&["snapshot-list", name, "--tree", "--current"]);
    assert_eq!(super::lab::shape(&ours), super::lab::shape(&virsh));

    // Twice in the same second, which libvirt's own revert does not survive.
    foreign.lua("local s = dom:find 'one' s:revert() s:revert() s:revert()");
    foreign.assert_tree(both, Some("one"));
    lab.virsh(&["snapshot-revert", name, "sn02"]);
    foreign.assert_tree(both, Some("sn02"));

    // Every one of these is refused by libvirt itself: the current one, an inner one, one with several children.
    foreign.snaptree(&["delete", &foreign.path("sn02"), "--yes"]);
    foreign.assert_tree("sn01\n  |\n  +- one\n  +- two\n", Some("sn01"));
    assert_eq!(foreign.snaptree(&["undo", name]), "");
    foreign.assert_tree(both, Some("sn02"));
    foreign.snaptree(&["undo", name]);
    foreign.assert_tree("sn01\n  |\n  +- one\n  +- two\n", Some("sn01"));
    foreign.lua("dom:undo()");
    foreign.assert_tree(both, Some("sn02"));
    lab.virsh(&["snapshot-delete", name, "two", "--metadata"]);
    foreign.snaptree(&["delete", &foreign.path("sn02"), "--children-only", "--metadata", "--yes"]);
    foreign.assert_tree("sn01\n  |\n  +- sn02\n", Some("sn02"));
    foreign.snaptree(&["delete", &foreign.path("sn01"), "--children", "--yes"]);
    foreign.assert_tree("", None);
    foreign.start();
    foreign.sh("true");
}

#[test]
#[ignore = "needs QEMU"]
fn a_revert_brings_back_files_and_processes_and_undo_brings_back_what_was_left() {
    let lab = Lab::new("revert");
    let foreign = Foreign::new(&lab);
    let name = foreign.name.as_str();
    foreign.start();
    foreign.sh("echo before > /root/marker");
    foreign.sh(COUNTER);
    let (process, counted) = counter(&foreign);
    foreign.snaptree(&["snapshot", name, "warm"]);
    assert_eq!(foreign.state(), "running");
    foreign.sh("sync; echo after > /root/marker; sync; kill $(cut -d' ' -f1 /run/counter)");
    let json: serde_json::Value =
        serde_json::from_str(&foreign.snaptree(&["info", &foreign.path("warm"), "--json"])).unwrap();
    assert_eq!((&json["live"], &json["kind"], &json["state"]), (&true.into(), &"external".into(), &"running".into()));

    foreign.snaptree(&["revert", &foreign.path("warm"), "--yes"]);
    let (again, then) = counter(&foreign);
    assert_eq!(again, process);
    assert!(then >= counted, "it counts on from {counted}, and is at {then}");
    assert!(
        counter(&foreign).1 > then || {
            std::thread::sleep(std::time::Duration::from_secs(1));
            counter(&foreign).1 > then
        }
    );
    assert_eq!(foreign.sh("cat /root/marker"), "before\n");

    // What was left is back, with the process that was started there.
    foreign.sh("echo left > /run/left; echo left > /root/marker; sync");
    foreign.snaptree(&["revert", &foreign.path("warm"), "--yes"]);
    assert_eq!(foreign.sh("cat /root/marker; ls /run/left 2>&1 | grep -c 'No such'"), "before\n1\n");
    foreign.snaptree(&["undo", name]);
    assert_eq!(foreign.sh("cat /root/marker /run/left"), "left\nleft\n");
    assert_eq!(counter(&foreign).0, process);
    foreign.snaptree(&["undo", name]);
    assert_eq!(foreign.sh("cat /root/marker; ls /run/left 2>&1 | grep -c 'No such'"), "before\n1\n");

    // virsh reverts to the same snapshot natively.
    lab.virsh(&["snapshot-revert", name, "warm"]);
    assert_eq!(foreign.sh("cat /root/marker"), "before\n");
    assert_eq!(counter(&foreign).0, process);

    // A paused one stays paused; a disk snapshot leaves the guest off unless asked.
    foreign.snaptree(&["revert", &foreign.path("warm"), "--paused", "--yes"]);
    assert_eq!(foreign.state(), "paused");
    lab.virsh(&["resume", name]);
    assert_eq!(foreign.sh("cat /root/marker"), "before\n");
}

/// libvirt's own revert removes the overlays that the current snapshot names, also where a child's layer is one.
#[test]
#[ignore = "needs QEMU"]
fn virshs_revert_takes_no_layer_with_it_after_ours() {
    let lab = Lab::new("mixture");
    let foreign = Foreign::new(&lab);
    let name = foreign.name.as_str();
    let layers_are_there = |when: &str| {
        for snapshot in foreign.snapshots() {
            let xml = lab.virsh(&["snapshot-dumpxml", name, &snapshot]);
            let domain = &xml[xml.find("<domain ").unwrap()..];
            let layer = super::foreign::between(domain, "<source file='", "'").unwrap();
            assert!(std::path::Path::new(layer).exists(), "{when}, `{snapshot}` lost its layer `{layer}`");
        }
    };
    let virsh_revert = |snapshot: &str| {
        // Its overlays are named after the second.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        lab.virsh(&["snapshot-revert", name, snapshot]);
    };
    for snapshot in ["top", "one", "below"] {
        lab.virsh(&["snapshot-create-as", name, snapshot, "--disk-only"]);
    }
    foreign.snaptree(&["revert", &foreign.path("top"), "--yes"]);
    virsh_revert("below");
    layers_are_there("after a revert of ours to one with a child");
    foreign.snaptree(&["revert", &foreign.path("top"), "--yes"]);
    foreign.snaptree(&["snapshot", name, "two"]);
    foreign.snaptree(&["delete", &foreign.path("two"), "--yes"]);
    virsh_revert("below");
    layers_are_there("after a deletion of the current one");
    virsh_revert("one");
    foreign.snaptree(&["edit", &foreign.path("one"), "--comment", "with a child"]);
    virsh_revert("top");
    layers_are_there("after a change of the current one's comment");
    foreign.snaptree(&["delete", &foreign.path("one"), "--yes"]);
    foreign.snaptree(&["undo", name]);
    virsh_revert("below");
    layers_are_there("after an undo");
}

#[test]
#[ignore = "needs QEMU"]
fn read_only_disks_and_excluded_ones_are_not_touched() {
    let lab = Lab::new("disks");
    let foreign = Foreign::new(&lab);
    let name = foreign.name.as_str();
    let (seed, data) = (foreign.directory.join("seed.iso"), foreign.directory.join("data.raw"));
    std::fs::write(&seed, vec![b's'; 1 << 20]).unwrap();
    std::fs::write(&data, vec![0; 1 << 20]).unwrap();
    for (file, target, more) in
        [(&seed, "sda", &["--type", "cdrom", "--mode", "readonly"][..]), (&data, "vdb", &["--subdriver", "raw"][..])]
    {
        let file = file.to_str().unwrap();
        lab.virsh(&[&["attach-disk", name, file, target, "--config"], more].concat());
    }
    let before = foreign.everything();
    lab.snaptree(&["snapshot", name, "nope", "--internal"])
        .status(1)
        .stderr(&format!(
            "error: no snapshot can hold disk `vdb` of `{name}`: it is raw, and an internal snapshot lives inside a qcow2 \
             file\nhint: take an external snapshot: `--external`, in Lua `kind = \"external\"`\n"
        ))
        .run();
    assert_eq!(foreign.everything(), before);
    foreign.snaptree(&["snapshot", name, "part", "--diskspec", "vdb,snapshot=no"]);
    foreign.start();
    foreign.sh("echo x > /root/marker; sync; printf new | dd of=/dev/vdb conv=notrunc; sync");
    foreign.snaptree(&["revert", &foreign.path("part"), "--running", "--yes"]);
    assert_eq!(foreign.sh("ls /root/marker 2>&1 | grep -c 'No such'; head -c 3 /dev/vdb"), "1\nnew");
    let blocks = lab.virsh(&["domblklist", name]);
    assert!(blocks.contains(seed.to_str().unwrap()) && blocks.contains(data.to_str().unwrap()), "{blocks}");
    let mut files: Vec<String> = std::fs::read_dir(&foreign.directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("seed") || name.contains("data"))
        .collect();
    files.sort();
    assert_eq!(files, ["data.raw", "seed.iso"]);
}

#[test]
#[ignore = "needs QEMU"]
fn a_tree_made_by_virsh_opens_with_internal_and_external_ones_mixed() {
    let lab = Lab::new("mixed");
    let foreign = Foreign::new(&lab);
    let name = foreign.name.as_str();
    foreign.start();
    let step = |marker: &str| foreign.sh(&format!("echo {marker} > /root/marker; sync"));
    step("inside");
    lab.virsh(&["snapshot-create-as", name, "inside"]);
    step("outside");
    lab.virsh(&["snapshot-create-as", name, "outside", "--disk-only"]);
    step("deep");
    lab.virsh(&["snapshot-create-as", name, "deep"]);
    step("last");
    let tree = "inside\n  |\n  +- outside\n      |\n      +- deep\n";
    foreign.assert_tree(tree, Some("deep"));
    let list = foreign.snaptree(&["list", name, "--internal", "--name"]);
    assert_eq!(list, "inside\ndeep\n");
    assert_eq!(foreign.snaptree(&["list", name, "--disk-only", "--name"]), "outside\n");

    // The file that holds `inside` is a layer now: libvirt would overwrite what `outside` depends on.
    let before = foreign.everything();
    lab.snaptree(&["revert", &foreign.path("inside"), "--yes"])
        .status(1)
        .stderr(&format!(
            "error: `{name}` cannot go back to `inside`: snapshot `outside` depends on the file that holds it, which \
             libvirt would overwrite\nhint: a branch can grow from it: that copies its disks, without the RAM\n"
        ))
        .run();
    assert_eq!(foreign.everything(), before);
    assert_eq!(foreign.sh("cat /root/marker"), "last\n");

    // Its own file is the disk's: libvirt's own call, with what was there kept.
    foreign.snaptree(&["revert", &foreign.path("deep"), "--yes"]);
    assert_eq!(foreign.sh("cat /root/marker"), "deep\n");
    foreign.assert_tree(tree, Some("deep"));
    foreign.snaptree(&["undo", name]);
    assert_eq!(foreign.sh("cat /root/marker"), "last\n");
    foreign.assert_tree(tree, Some("deep"));

    foreign.snaptree(&["revert", &foreign.path("outside"), "--running", "--yes"]);
    assert_eq!(foreign.sh("cat /root/marker"), "outside\n");
    foreign.snaptree(&["revert", &foreign.path("deep"), "--yes"]);
    assert_eq!(foreign.sh("cat /root/marker"), "deep\n");
    foreign.assert_tree(tree, Some("deep"));

    // Branches grow from all three, and the domain is not touched by that.
    let xml = lab.virsh(&["dumpxml", "--inactive", name]);
    let script = format!(
        "local dom = machine.open '{name}'
         for _, name in ipairs {{ 'inside', 'outside', 'deep' }} do
           dom:find(name):branch(name .. '-grown', function(guest)
             local marker = guest:read('/root/marker')
             guest:write('/root/grown', 'from ' .. marker)
           end)
         end"
    );
    lab.script(&script).any_stderr().run();
    for parent in ["inside", "outside", "deep"] {
        let grown = foreign.path(&format!("{parent}-grown"));
        lab.snaptree(&["exec", &grown, "--", "cat", "/root/grown"]).stdout(&format!("from {parent}\n")).run();
    }
    assert_eq!(lab.virsh(&["dumpxml", "--inactive", name]), xml);
    let second = lab.script(&script).any_stderr().run().stderr;
    assert!(!second.contains("building"), "{second}");
    assert_eq!(foreign.sh("cat /root/marker"), "deep\n");
}

#[test]
#[ignore = "needs QEMU"]
fn a_recipe_grows_from_a_domain_that_is_shut_off() {
    let lab = Lab::new("state");
    let foreign = Foreign::new(&lab);
    let name = foreign.name.as_str();
    let script = format!(
        "local root = machine.open('{name}'):root('as-found', {{ comment = 'as it was found' }})
         root:branch('grown', function(guest) guest:write('/root/grown', 'yes') end)"
    );
    let (xml, disk) = (lab.virsh(&["dumpxml", name]), std::fs::read(foreign.disk()).unwrap());
    lab.script(&script).any_stderr().run();
    foreign.assert_tree("as-found\n  |\n  +- grown\n", None);
    lab.snaptree(&["exec", &foreign.path("grown"), "--", "cat", "/root/grown"]).stdout("yes").run();
    assert_eq!(lab.virsh(&["dumpxml", name]), xml);
    assert!(std::fs::read(foreign.disk()).unwrap() == disk, "the disk was touched");
    let second = lab.script(&script).any_stderr().run().stderr;
    assert!(second.contains("as-found: cached.") && second.contains("grown: cached."), "{second}");

    // Once the domain has run, the root is another one.
    foreign.start();
    foreign.lua("dom:guest():run 'echo more > /root/more' dom:shutdown()");
    let third = lab.script(&script).any_stderr().run().stderr;
    assert!(third.contains("as-found: building, because disk `vda` was written to since."), "{third}");
    lab.snaptree(&["exec", &foreign.path("grown"), "--", "cat", "/root/more"]).stdout("more\n").run();
    foreign.start();
    foreign.sh("echo now > /root/now; sync");
    lab.script(&script).status(1).stderr_contains(&format!("`{name}` is running, and its disks change")).run();
}

#[test]
#[ignore = "needs QEMU"]
fn chains_stay_short() {
    let lab = Lab::new("chain");
    let foreign = Foreign::new(&lab);
    let name = foreign.name.as_str();
    let disk = || {
        let blocks = lab.virsh(&["domblklist", name]);
        blocks.lines().find_map(|line| line.trim().strip_prefix("vda")).unwrap().trim().to_string()
    };
    let take: String = (1..=18).map(|n| format!("dom:snapshot('off{n:02}')\n")).collect();
    foreign.lua(&take);
    assert!(chain(disk().as_ref()).len() <= 16, "{:?}", chain(disk().as_ref()));
    foreign.start();
    foreign.sh("echo kept > /root/marker; sync");
    let take: String = (1..=18).map(|n| format!("dom:snapshot('on{n:02}', {{ disk_only = true }})\n")).collect();
    foreign.lua(&take);
    assert!(chain(disk().as_ref()).len() <= 16, "{:?}", chain(disk().as_ref()));
    assert_eq!(foreign.sh("cat /root/marker"), "kept\n");
    foreign.snaptree(&["revert", &foreign.path("off16"), "--yes"]);
    assert!(chain(disk().as_ref()).len() <= 16, "{:?}", chain(disk().as_ref()));

    // A builder of a branch gets its chain shortened beside the step.
    foreign.lua("dom:find('on12'):branch('grown', function(guest) guest:run 'cat /root/marker' end)");
    lab.snaptree(&["exec", &foreign.path("grown"), "--", "cat", "/root/marker"]).stdout("kept\n").run();
    let layers = foreign.lua("for _, file in ipairs(dom:find('grown').disks[1].chain) do print(file.path) end");
    assert!(layers.lines().count() <= 16, "{layers}");
}
