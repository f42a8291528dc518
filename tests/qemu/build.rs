//! Building, reusing, changing, killing and deleting a tree.

use std::time::Duration;

use super::lab::{Lab, shape};

const TREE: &str = r#"
    local base = machine(MACHINE, { image = tiny {}, memory = "256MiB" }):root("base", { comment = "as built" })
    local child = base:branch("child", function(guest)
      guest:write("/root/marker", "child\n")
    end)
    child:branches {
      left = function(guest) guest:run "echo left >> /root/marker" end,
      right = function(guest) guest:run "echo right >> /root/marker" end,
    }
"#;

const DRAWN: &str = "base\n  |\n  +- child\n      |\n      +- left\n      +- right\n";

fn about_nodes(stderr: &str) -> Vec<&str> {
    stderr.lines().filter(|line| line.contains(": cached.") || line.contains(": building, ")).collect()
}

#[test]
#[ignore = "needs QEMU"]
fn a_tree_is_built_reused_changed_and_deleted() {
    let lab = Lab::new("tree");
    let ran = lab.script(TREE).any_stderr().run();
    assert!(shape(&ran.stderr).ends_with(DRAWN), "{}", ran.stderr);

    // virsh and snaptree show the same tree, and the same current snapshot.
    assert_eq!(lab.virsh_tree(), DRAWN);
    let ours = lab.snaptree(&["tree", &lab.machine]).any_stdout().run().stdout;
    assert_eq!(shape(&ours), DRAWN);
    assert!(ours.starts_with("base (current)\n"));
    assert_eq!(lab.virsh(&["snapshot-current", &lab.machine, "--name"]).trim(), "base");
    lab.assert_no_clone_is_left();

    // Each node has what its own steps and its ancestors' did, and nothing from its sibling.
    lab.exec("left", &["cat", "/root/marker"]).stdout("child\nleft\n").run();
    lab.exec("right", &["cat", "/root/marker"]).stdout("child\nright\n").run();

    // A second run starts nothing.
    let before = lab.virsh(&["dumpxml", &lab.machine]);
    let files = lab.files();
    let second = lab.script(TREE).any_stderr().run();
    assert_eq!(about_nodes(&second.stderr), ["base: cached.", "child: cached.", "left: cached.", "right: cached."]);
    assert!(!second.stderr.contains("booted"), "{}", second.stderr);
    assert_eq!((lab.virsh(&["dumpxml", &lab.machine]), lab.files()), (before, files));

    // A changed command rebuilds its branch alone, and is named.
    let third = lab.script(&TREE.replace("echo left", "echo changed")).any_stderr().run();
    assert_eq!(
        about_nodes(&third.stderr),
        [
            "base: cached.",
            "child: cached.",
            "right: cached.",
            r#"left: building, because operation 1 of left: run "echo changed >> /root/marker" was "echo left >> /root/marker"."#,
        ]
    );
    lab.exec("left", &["cat", "/root/marker"]).stdout("child\nchanged\n").run();
    assert_eq!(lab.virsh_tree(), DRAWN);

    // A superseded node is revived, not built again.
    let fourth = lab.script(TREE).any_stderr().run();
    assert_eq!(about_nodes(&fourth.stderr), ["base: cached.", "child: cached.", "left: cached.", "right: cached."]);
    lab.exec("left", &["cat", "/root/marker"]).stdout("child\nleft\n").run();

    // virsh can revert to a node that snaptree made.
    lab.virsh(&["snapshot-revert", &lab.machine, "right"]);
    assert_eq!(lab.virsh(&["snapshot-current", &lab.machine, "--name"]).trim(), "right");

    // A layer stays as long as another one depends on it, even if its snapshot is deleted behind our back.
    lab.virsh(&["snapshot-delete", &lab.machine, "child", "--metadata"]);
    lab.exec("left", &["cat", "/root/marker"]).stdout("child\nleft\n").run();
    assert_eq!(lab.virsh_tree(), "base\n  |\n  +- left\n  +- right\n");
    let fifth = lab.script(TREE).any_stderr().run();
    assert_eq!(
        about_nodes(&fifth.stderr),
        ["base: cached.", "child: building, because it does not exist yet.", "left: cached.", "right: cached."]
    );
    assert_eq!(lab.virsh_tree(), DRAWN);
    assert_eq!(lab.virsh(&["snapshot-current", &lab.machine, "--name"]).trim(), "right");

    lab.snaptree(&["delete", &lab.machine, "--yes"]).any_stderr().run();
    assert_eq!(lab.domains(), Vec::<String>::new());
    assert_eq!(lab.files(), Vec::<std::path::PathBuf>::new());
}

#[test]
#[ignore = "needs QEMU"]
fn a_failing_step_leaves_the_tree_as_it_was() {
    let lab = Lab::new("failing");
    let base = r#"
        local base = machine(MACHINE, { image = tiny {}, memory = "256MiB" }):root("base")
        base:branch("child", function(guest)
          guest:run "echo to stdout; echo to stderr >&2; exit 7"
        end)
    "#;
    let ran = lab.script(base).status(1).any_stderr().run();
    let path = format!("{}/child", lab.machine);
    let said = format!(
        "child: failed; the tree is unchanged.\n\
         child: `snaptree log {path}` shows what it did, `snaptree shell --failed {path}` looks around.\n\
         error: script.lua:4: \"echo to stdout; echo to stderr >&2; exit 7\" failed with exit status 7 in `child`\n  \
           | to stdout\n  | to stderr\n"
    );
    assert!(ran.stderr.ends_with(&said), "{}", ran.stderr);
    assert_eq!(lab.virsh_tree(), "base\n");
    lab.assert_no_clone_is_left();
}

#[test]
#[ignore = "needs QEMU"]
fn a_machine_that_cannot_be_made_leaves_nothing() {
    let lab = Lab::new("impossible");
    let failed = |option: &str, said: &str| {
        let script = format!("machine(MACHINE, {{ image = tiny {{}}, {option} }}):root 'base'");
        let ran = lab.script(&script).status(1).any_stderr().run();
        let said = format!("base: failed; the tree is unchanged.\nerror: script.lua:1: {said}\n");
        assert!(ran.stderr.ends_with(&said), "{}", ran.stderr);
        assert_eq!((lab.domains(), lab.files()), (Vec::new(), Vec::new()));
    };
    failed(
        "disk = '512MiB'",
        "cannot give the disk 512.0 MiB: Use the --shrink option to perform a shrink operation.\n\
         hint: the option `disk` can make a disk larger than its image, not smaller",
    );
    failed(
        "extra_xml = '<sound'",
        &format!(
            "`extra_xml` of the machine `{}` is malformed: syntax error: tag not closed: `>` not found before end of \
             input\nhint: it holds devices as libvirt's domain XML writes them, such as `<sound model='ich9'/>`",
            lab.machine
        ),
    );
}

#[test]
#[ignore = "needs QEMU"]
fn kill_9_during_a_build_leaves_the_tree_and_the_next_run_finishes() {
    let lab = Lab::new("killed");
    let script = r#"
        local base = machine(MACHINE, { image = tiny {}, memory = "256MiB" }):root("base")
        base:branch("child", function(guest) guest:run "sleep SECONDS" end)
    "#;
    // Its number is no part of a command that was never recorded.
    let running = lab.script(&script.replace("SECONDS", "600")).status(137).any_stderr().start();
    let builder = || lab.domains().into_iter().find(|name| name.contains(".build-"));
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    while builder().is_none() {
        assert!(std::time::Instant::now() < deadline, "no builder appeared");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(2));
    running.signal("KILL").finish();
    let left = builder().expect("the builder outlives the process that was killed");
    assert_eq!(lab.virsh_tree(), "base\n");

    let ran = lab.script(&script.replace("SECONDS", "0")).any_stderr().run();
    assert!(ran.stderr.contains(&format!("removed `{left}`, left by a run that was killed.")), "{}", ran.stderr);
    assert_eq!(lab.virsh_tree(), "base\n  |\n  +- child\n");
    lab.assert_no_clone_is_left();
    let is_layer = |file: &str| file.contains("/child-") && file.ends_with(".qcow2");
    let overlays = lab.files().into_iter().filter(|file| is_layer(&file.to_string_lossy()));
    assert_eq!(overlays.count(), 1, "the killed builder's overlay is gone: {:?}", lab.files());
}

#[test]
#[ignore = "needs QEMU"]
fn an_interrupt_cleans_up_at_once() {
    let lab = Lab::new("interrupted");
    let script = r#"
        local base = machine(MACHINE, { image = tiny {}, memory = "256MiB" }):root("base")
        base:branch("child", function(guest) guest:run "sleep 600" end)
    "#;
    let running = lab.script(script).status(130).any_stderr().start();
    let deadline = std::time::Instant::now() + Duration::from_secs(120);
    while lab.domains().len() < 2 {
        assert!(std::time::Instant::now() < deadline, "no builder appeared");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(8));
    let ran = running.signal("INT").finish();
    assert!(ran.stderr.ends_with("error: interrupted\n"), "{}", ran.stderr);
    lab.assert_no_clone_is_left();
    assert_eq!(lab.virsh_tree(), "base\n");
}

#[test]
#[ignore = "needs QEMU"]
fn names_with_signs_and_japanese_letters_work() {
    let lab = Lab::new("日本 <&> \"it's\"");
    let script = r#"
        local base = machine(MACHINE, { image = tiny {}, memory = "256MiB" }):root("根 & <root>")
        base:branch("it's \"データ\"", function(guest) guest:write("/root/名", "中身") end)
    "#;
    lab.script(script).any_stderr().run();
    assert_eq!(lab.virsh_tree(), "根 & <root>\n  |\n  +- it's \"データ\"\n");
    lab.exec("it's \"データ\"", &["cat", "/root/名"]).stdout("中身").run();
    let second = lab.script(script).any_stderr().run();
    assert_eq!(about_nodes(&second.stderr), ["根 & <root>: cached.", "it's \"データ\": cached."]);
}

#[test]
#[ignore = "needs QEMU"]
fn a_foreign_domain_is_left_alone() {
    let lab = Lab::new("foreign");
    let xml = lab.store.join("foreign.xml");
    let domain = format!(
        "<domain type='qemu'><name>{}</name><memory unit='MiB'>64</memory><os><type arch='x86_64'>hvm</type></os></domain>",
        lab.machine
    );
    std::fs::write(&xml, domain).unwrap();
    lab.virsh(&["define", xml.to_str().unwrap()]);
    let before = lab.virsh(&["dumpxml", &lab.machine]);
    lab.script("machine(MACHINE, { image = tiny {} }):root 'base'")
        .status(1)
        .stderr(&format!(
            "base: failed; the tree is unchanged.\n\
             error: script.lua:1: a domain `{}` exists already, and snaptree did not make it\n\
             hint: give the machine another name\n",
            lab.machine
        ))
        .run();
    assert_eq!(lab.virsh(&["dumpxml", &lab.machine]), before);
}
