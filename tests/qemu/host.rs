//! Connections, the accelerator, and the scripts that ship with snaptree.

use super::lab::{Lab, is_root, shape};
use crate::support::{Test, repository};

#[test]
#[ignore = "needs QEMU"]
fn the_in_process_driver_builds_a_tree() {
    let lab = Lab::new("embed");
    let root = lab.store.join("e");
    let script = r#"
        local base = require("images.tiny") {}
        machine("embedded", { image = base, memory = "256MiB" }):root("base"):branch("child", function(guest)
          print(guest:run("echo in the guest").stdout)
        end)
    "#;
    let ran = lab
        .script("")
        .script(script)
        .connect("embed")
        .env("SNAPTREE_EMBED_ROOT", &root)
        .stdout("in the guest\n\n")
        .any_stderr()
        .run();
    assert!(shape(&ran.stderr).ends_with("base\n  |\n  +- child\n"), "{}", ran.stderr);
    let delete = ran.again().args(["delete", "embedded", "--yes"]);
    delete.stderr("Deleted machine `embedded` with its 2 snapshots and their layers.\n").run();
}

#[test]
#[ignore = "needs QEMU"]
fn the_default_connection_is_the_one_virsh_uses() {
    let lab = Lab::new("default");
    let there = lab.snaptree(&["tree", "nosuch"]).no_connect().status(1).any_stderr().run();
    let uri = if is_root() { "qemu:///system" } else { "qemu:///session" };
    assert!(there.stderr.starts_with(&format!("error: there is no machine `nosuch` on {uri}\n")), "{}", there.stderr);
    lab.snaptree(&["tree", "test"])
        .no_connect()
        .env("LIBVIRT_DEFAULT_URI", "test:///default")
        .stdout("no snapshots\n")
        .run();
    lab.snaptree(&["tree", "test"]).connect("test:///default").stdout("no snapshots\n").run();
}

#[test]
#[ignore = "needs QEMU"]
fn qemu_reaches_a_store_several_new_directories_deep_under_any_umask() {
    for umask in ["077", "000"] {
        let lab = Lab::new("umask");
        let blank = lab.store.join("blank.qcow2");
        let mut qemu_img = std::process::Command::new("qemu-img");
        assert!(qemu_img.args(["create", "-q", "-f", "qcow2"]).arg(&blank).arg("1M").status().unwrap().success());
        let masked = |test: Test| {
            let line = format!("umask {umask}; exec \"$@\"");
            test.env("SNAPTREE_STORE", lab.store.join("a/b/c")).in_shell(&line).any_stdout().any_stderr()
        };
        let script =
            format!("machine(MACHINE, {{ image = image.file '{}', memory = '64MiB' }}):root 'base'", blank.display());
        masked(lab.script(&script)).run();
        let base = format!("{}/base", lab.machine);
        masked(lab.snaptree(&["revert", &base, "--running", "--yes"])).run();
        assert_eq!(lab.virsh(&["domstate", &lab.machine]).trim(), "running", "umask {umask}");
        let doctor = masked(lab.snaptree(&["doctor"])).run().stdout;
        assert!(doctor.contains("Live snapshots: mapped"), "umask {umask}: {doctor}");
        masked(lab.snaptree(&["delete", &lab.machine, "--force", "--yes"])).run();
    }
}

#[test]
#[ignore = "needs QEMU"]
fn doctor_tells_who_reaps() {
    let lab = Lab::new("reap");
    let doctor = lab.snaptree(&["doctor", "--json"]).any_stdout().run().stdout;
    let doctor: serde_json::Value = serde_json::from_str(&doctor).unwrap();
    let because = doctor["reaping"]["because"].as_str().unwrap();
    assert!(
        because.starts_with("libvirtd runs below process ") || because.starts_with("virtqemud runs below"),
        "{because}"
    );
    assert_eq!(
        doctor["reaping"]["hint"].is_string(),
        ["late", "never"].contains(&doctor["reaping"]["is"].as_str().unwrap())
    );
    let embed = lab.snaptree(&["doctor"]).connect("embed").env("SNAPTREE_EMBED_ROOT", lab.store.join("e"));
    let said = "Reaping:        prompt\n                because snaptree reaps the guests that it starts\n";
    let embed = embed.any_stdout().any_stderr().run().stdout;
    assert!(embed.contains(said), "{embed}");
}

#[test]
#[ignore = "needs QEMU"]
fn an_unreachable_hypervisor_ends_with_69() {
    let ran = Test::new().connect("qemu:///nosuch").args(["tree"]).status(69).any_stderr().run();
    assert!(ran.stderr.starts_with("error: cannot connect to `qemu:///nosuch`: "), "{}", ran.stderr);
}

#[test]
#[ignore = "needs QEMU"]
fn an_unreachable_mirror_is_named_with_the_reason() {
    let lab = Lab::new("mirror");
    for image in ["tiny", "debian"] {
        let script = r#"
            machine(MACHINE, { image = require "images.IMAGE" { mirror = "http://127.0.0.1:9/debian" } }):root("base")
        "#;
        let ran = lab.script(&script.replace("IMAGE", image)).status(1).any_stderr().run();
        let said = format!(
            "base: failed; the tree is unchanged.\n\
             error: script.lua:2: images.{image}: cannot fetch `http://127.0.0.1:9/debian/dists/bookworm/InRelease`: \
             Could not connect to 127.0.0.1:9 (127.0.0.1): connect (111: Connection refused)\n\
             hint: is the mirror reachable, and does it have the suite? the option `mirror` names another one\n"
        );
        assert!(ran.stderr.ends_with(&said), "{}", ran.stderr);
        assert_eq!(lab.domains(), Vec::<String>::new());
    }
}

#[test]
#[ignore = "needs QEMU"]
fn the_hello_script_builds_its_tree() {
    let lab = Lab::new("hello");
    let script = std::fs::read_to_string(repository().join("scripts/hello.lua")).unwrap();
    let drawn =
        script.lines().skip_while(|line| *line != "-- The tree:").skip(1).take_while(|line| line.starts_with("-- "));
    let drawn: String = drawn.map(|line| format!("{}\n", line.trim_start_matches("--   "))).collect();
    let script = script.replace("machine(\"hello\"", "machine(MACHINE");
    lab.script(&format!("\n{script}")).any_stderr().run();
    assert_eq!(lab.virsh_tree(), drawn);
    lab.exec("japanese", &["cat", "/root/greeting"]).stdout("こんにちは\n").run();
}
