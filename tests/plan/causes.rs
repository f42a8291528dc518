//! Every reason for which a node is not what the script makes, once in a plan and once in a run.

use serde_json::{Value, json};

use super::{CACHED, TREE, about, plan, run};
use crate::support::Ran;

/// Checks what a plan and a run say of a node after a change of the script.
#[track_caller]
fn because(first: &Ran, changed: &str, node: &str, reason: &str) {
    assert_eq!(about(first, changed, node), format!("{node}: stale (because: {reason})"));
    let second = first.again().script(changed).args(["run", "script.lua"]).any_stderr().run();
    let line = format!("{node}: building, because {reason}.");
    assert!(second.stderr.lines().any(|it| it == line), "`{line}` is not in\n{}", second.stderr);
}

#[track_caller]
fn mariadb(from: &str, to: &str, reason: &str) {
    assert!(TREE.contains(from), "nothing to replace");
    because(&run(TREE), &TREE.replace(from, to), "mariadb", reason);
}

const WRITE: &str = r#"guest:write("/etc/my.cnf", "port=3306")"#;
const SYNC: &str = r#"guest:run("sync", { user = "mysql", env = { LANG = "C" } })"#;

#[test]
fn a_changed_command() {
    mariadb(
        "install mariadb-server",
        "install mariadb-server=10.6",
        r#"operation 1 of mariadb: run "apt-get install mariadb-server=10.6" was "apt-get install mariadb-server""#,
    );
    mariadb(
        r#"guest:run "apt-get install mariadb-server""#,
        r#"guest:run { "apt-get", "install" }"#,
        r#"operation 1 of mariadb: run {"apt-get", "install"} was "apt-get install mariadb-server""#,
    );
}

#[test]
fn a_changed_option() {
    mariadb(r#""mysql""#, r#""root""#, r#"operation 3 of mariadb: run "sync": user "root" was "mysql""#);
    mariadb(r#"user = "mysql","#, "", r#"operation 3 of mariadb: run "sync": user none was "mysql""#);
    mariadb(
        r#"env = { LANG = "C" }"#,
        r#"env = { LANG = "de", A = "1" }, cwd = "/tmp", stdin = "in""#,
        r#"operation 3 of mariadb: run "sync": cwd "/tmp" was none, env LANG "de" was "C", env A "1" was none, stdin is new"#,
    );
    mariadb(
        r#""port=3306")"#,
        r#""port=3306", { mode = "0600", owner = "mysql" })"#,
        r#"operation 2 of mariadb: write /etc/my.cnf: mode "0600" was none, owner "mysql" was none"#,
    );
    let timeout = TREE.replace(r#"user = "mysql""#, r#"user = "mysql", timeout = "1h""#);
    assert_eq!(about(&run(TREE), &timeout, "mariadb"), "mariadb: cached");
}

#[test]
fn changed_content() {
    mariadb("port=3306", "port=3307", "operation 2 of mariadb: file /etc/my.cnf changed: 8209.. -> 114d..");
    let push = TREE.replace(WRITE, r#"guest:push("conf/my.cnf", "/etc/my.cnf")"#);
    let pushed = |content: &str, ran: &Ran| {
        ran.again().file("conf/my.cnf", content).script(&push).args(["run", "script.lua"]).any_stderr().run()
    };
    let first = pushed("port=3306", &run(""));
    let second = first.again().file("conf/my.cnf", "port=3307").args(["plan", "script.lua"]).status(2);
    assert!(
        second
            .any_stdout()
            .run()
            .stdout
            .contains("mariadb: stale (because: operation 2 of mariadb: file conf/my.cnf changed: 8209.. -> 114d..)\n")
    );
    let stdin = |text: &str| TREE.replace(r#"user = "mysql","#, &format!("stdin = '{text}',"));
    because(
        &run(&stdin("a")),
        &stdin("b"),
        "mariadb",
        r#"operation 3 of mariadb: run "sync": stdin changed: 1776.. -> 10e5.."#,
    );
}

#[test]
fn an_added_operation() {
    mariadb(SYNC, &format!("{SYNC} guest:sync()"), "operation 4 of mariadb is new: sync");
    mariadb(
        WRITE,
        &format!("guest:sync() {WRITE}"),
        "operation 2 of mariadb: sync was write /etc/my.cnf, 9 bytes (8209b023)",
    );
}

#[test]
fn a_removed_operation() {
    mariadb(SYNC, "", r#"operation 3 of mariadb is gone: run "sync" as mysql LANG="C""#);
    mariadb(
        WRITE,
        "",
        "operation 2 of mariadb: run \"sync\" as mysql LANG=\"C\" was operation 3, \
         and write /etc/my.cnf, 9 bytes (8209b023) is gone or comes later",
    );
}

#[test]
fn reordered_operations() {
    let two = |a: &str, b: &str| TREE.replace(WRITE, &format!("guest:run '{a}' guest:run '{b}'"));
    because(
        &run(&two("a", "b")),
        &two("b", "a"),
        "mariadb",
        r#"operation 2 of mariadb: run "b" was operation 3, and run "a" is gone or comes later"#,
    );
}

#[test]
fn a_status_that_is_a_failure_now() {
    let script = |check: &str| TREE.replace("mariadb-server\"", &format!("mariadb-server || false\" {check}"));
    let unchecked =
        TREE.replace(r#"guest:run "apt-get install mariadb-server""#, r#"guest:run("false", { check = false })"#);
    let checked = unchecked.replace(", { check = false }", "");
    assert_ne!(script(""), checked);
    assert_eq!(
        about(&run(&unchecked), &checked, "mariadb"),
        "mariadb: stale (because: operation 1 of mariadb had exit status 1, which is a failure now: run \"false\")"
    );
}

#[test]
fn another_image() {
    let image = |size: &str| TREE.replace("tiny\" {}", &format!("tiny\" {{ disk = '{size}' }}"));
    let first = run(&image("1GiB"));
    let line = about(&first, &image("2GiB"), "base");
    let digests = line.strip_prefix("base: stale (because: the machine's image changed: blake3:").expect(&line);
    let digests = digests.strip_suffix("..)").expect("the end").split_once(".. -> blake3:").expect("two digests");
    assert!(digests.0 != digests.1 && digests.0.len() == 8 && digests.1.len() == 8, "{line}");
    assert_eq!(about(&first, &image("2GiB"), "updated"), "updated: stale (parent base is stale)");
}

#[test]
fn another_machine() {
    let machine = |more: &str| TREE.replace("tiny\" {}", &format!("tiny\" {{}}, {more}"));
    because(&run(TREE), &machine("cpus = 2"), "base", "the machine's `cpus` was 1, is now 2");
    because(
        &run(&machine("disk = '9GiB', firmware = 'uefi'")),
        TREE,
        "base",
        "the machine's `disk` was 9663676416, is now null, its `firmware` was \"uefi\", is now \"bios\"",
    );
}

#[test]
fn a_result_that_was_too_large_to_record() {
    let script = TREE.replace(WRITE, "guest:write('/big', string.rep('x', 2 ^ 20 + 1)) guest:read('/big')");
    because(
        &run(&script),
        &script,
        "mariadb",
        "operation 3 of mariadb: read /big gave 1048577 bytes, more than the 1048576 that a journal keeps",
    );
}

#[test]
fn a_missing_layer() {
    let first = run(TREE);
    let machines = std::fs::read_dir(first.path().join("store/machines")).expect("a store");
    let layer = machines
        .flatten()
        .flat_map(|machine| std::fs::read_dir(machine.path()).expect("a machine").flatten())
        .find(|file| file.file_name().to_string_lossy().starts_with("mariadb-"))
        .expect("a layer")
        .path();
    std::fs::remove_file(&layer).expect("it is there");
    let layer = layer.display().to_string().replace(&first.path().display().to_string(), "[DIR]");
    because(&first, TREE, "mariadb", &format!("its layer `{layer}` is missing"));
}

/// Changes what a node's metadata says, in the fake hypervisor's own file.
fn tamper(ran: &Ran, node: &str, change: impl FnOnce(&mut Value)) {
    let mut state = ran.state();
    change(&mut state["domains"]["lab"]["snapshots"][node]["document"]["metadata"]);
    std::fs::write(ran.path().join("state.json"), state.to_string()).expect("cannot write the state");
}

#[test]
fn a_damaged_journal() {
    let first = run(TREE);
    tamper(&first, "mariadb", |metadata| metadata["payload"] = json!("AAAA"));
    let line = about(&first, TREE, "mariadb");
    assert_eq!(line, "mariadb: stale (because: the journal is damaged)");
    because(&first, TREE, "mariadb", "the journal is damaged");
}

#[test]
fn another_schema() {
    let first = run(TREE);
    for node in ["base", "updated"] {
        tamper(&first, node, |metadata| metadata["attributes"]["schema"] = json!("7"));
    }
    let reason = "another version of snaptree built it, with schema 7: this one has schema 1";
    assert_eq!(about(&first, TREE, "updated"), "updated: stale (parent base is stale)");
    because(&first, TREE, "base", reason);
    plan(&first, TREE, 0, CACHED);
    let schema = |metadata: &mut Value| metadata["attributes"]["schema"] = json!("7");
    tamper(&first, "mariadb", schema);
    because(&first, TREE, "mariadb", reason);
}

#[test]
fn another_parent() {
    let first = run(TREE);
    let moved = TREE.replace("base:branches", "vm:find('base'):branches");
    because(&first, &moved, "mariadb", "its parent was `updated`, is now `base`");
}

#[test]
fn what_is_asked_for() {
    let first = run(TREE);
    let started = first.started().len();
    let planned = first.again().args(["plan", "script.lua", "--rebuild", "updated"]).status(2);
    planned
        .stdout(
            "
        base: cached
          |
          +- updated: stale (because: --rebuild asks for it)
              |
              +- mariadb: stale (parent updated is stale)
              +- postgresql: stale (parent updated is stale)
        ",
        )
        .run();
    let rebuilt = first.again().args(["run", "script.lua", "--rebuild", "updated", "--jobs", "1"]).any_stderr().run();
    let lines: Vec<&str> = rebuilt.stderr.lines().filter(|line| line.contains("building, because")).collect();
    assert_eq!(
        lines,
        [
            "updated: building, because --rebuild asks for it.",
            "mariadb: building, because its parent `updated` was built anew.",
            "postgresql: building, because its parent `updated` was built anew.",
        ]
    );
    assert_eq!(rebuilt.started().len(), started + 3);
    plan(&rebuilt, TREE, 0, CACHED);
}
