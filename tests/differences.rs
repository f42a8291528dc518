//! Scripts that differ in one effect: what a plan says about each, what a run then builds, and that this settles it.

use serde_json::{Value, json};

use crate::support::{DISK, OTHER_DISK, Ran, Test};

const TREE: &str = r#"
    local vm = machine("lab", { image = image.file("disk.qcow2") })
    local base = vm:root("base")
    local updated = base:branch("updated", function(guest) guest:run "update" end)
    local mariadb = updated:branch("mariadb", function(guest)
      guest:run "install" guest:run "configure" guest:run "start"
    end, { comment = "" })
    mariadb:branch("loaded", function(guest) guest:run "load" end)
    updated:branch("postgresql", function(guest) guest:run "install postgresql" end)
"#;

const CONFIGURE: &str = r#"guest:run "configure""#;
const START: &str = r#"guest:run "start""#;
const OPTIONS: &str = r#"{ comment = "" }"#;
const IMAGE: &str = r#"image.file("disk.qcow2")"#;

/// What is different the second time, all else being the same.
struct Pair {
    what: &'static str,
    /// The part of the script that is different, and what is in its place.
    part: &'static str,
    before: &'static str,
    after: &'static str,
    /// A file with its contents.
    file: (&'static str, &'static str, &'static str),
    /// What happens to the tree in between; returns what cannot be known before.
    spoil: fn(&Ran) -> String,
    /// Options of the second plan and run.
    args: &'static [&'static str],
    /// The second plan, with `{}` for the reason, and in that `[LAYER]` for what cannot be known.
    plan: &'static str,
    because: &'static str,
}

const PAIR: Pair = Pair {
    what: "",
    part: CONFIGURE,
    before: CONFIGURE,
    after: CONFIGURE,
    file: ("disk.qcow2", DISK, DISK),
    spoil: |_| String::new(),
    args: &[],
    plan: OF_MARIADB,
    because: "",
};

const OF_MARIADB: &str = "
    base: cached
      |
      +- updated: cached
          |
          +- mariadb: stale (because: {})
          |   |
          |   +- loaded: stale (parent mariadb is stale)
          |
          +- postgresql: cached
";

const OF_UPDATED: &str = "
    base: cached
      |
      +- updated: stale (because: {})
          |
          +- mariadb: stale (parent updated is stale)
          |   |
          |   +- loaded: stale (parent mariadb is stale)
          |
          +- postgresql: stale (parent updated is stale)
";

const OF_BASE: &str = "
    base: stale (because: {})
      |
      +- updated: stale (parent base is stale)
          |
          +- mariadb: stale (parent updated is stale)
          |   |
          |   +- loaded: stale (parent mariadb is stale)
          |
          +- postgresql: stale (parent updated is stale)
";

fn built(test: Test, script: &str) -> Ran {
    test.script(script).args(["run", "script.lua"]).any_stderr().run()
}

fn check(pairs: &[Pair]) {
    for Pair { what, part, before, after, file: (name, old, new), spoil, args, plan, because } in pairs {
        assert!(TREE.contains(part), "{what}: `{part}` is not in the script");
        let [before, after] = [before, after].map(|text| TREE.replace(part, text));
        let first = built(Test::new().file("disk.qcow2", DISK).file(name, old), &before);
        let spoilt = spoil(&first);
        let plan = plan.replace("{}", &because.replace("[LAYER]", &spoilt));

        let again = || first.again().file(name, new).script(&after);
        again().args(["plan", "script.lua"]).args(args.iter().copied()).status(2).stdout(&plan).run();
        let second = again().args(["run", "script.lua"]).args(args.iter().copied()).any_stderr().run();
        let mut building: Vec<&str> = second.stderr.lines().filter(|line| line.contains(": building, ")).collect();
        building.sort_unstable();
        assert_eq!(building, builds(&plan), "{what}");

        again().args(["plan", "script.lua"]).stdout(&all_cached(&plan)).run();
        let third = again().args(["run", "script.lua"]).any_stderr().run();
        assert!(third.started() == second.started() && !third.stderr.contains("building"), "{what}: {}", third.stderr);
    }
}

/// Returns what a run says about the nodes that it builds, as a plan predicts it.
fn builds(plan: &str) -> Vec<String> {
    let line = |line: &str| {
        let (name, standing) = line.trim_start_matches([' ', '|', '+', '-']).split_once(": ")?;
        let reason = match standing.strip_prefix("stale (because: ") {
            Some(reason) => reason.strip_suffix(')')?.to_string(),
            None if standing == "missing" => "it does not exist yet".to_string(),
            None => {
                let parent = standing.strip_prefix("stale (parent ")?.strip_suffix(" is stale)")?;
                format!("its parent `{parent}` was rebuilt")
            }
        };
        Some(format!("{name}: building, because {reason}."))
    };
    let mut lines: Vec<String> = plan.lines().filter_map(line).collect();
    lines.sort();
    lines
}

/// Returns the plan of the same tree when nothing is to be built.
fn all_cached(plan: &str) -> String {
    let cached = |line: &str| match line.split_once(": ") {
        Some((name, _)) => format!("{name}: cached\n"),
        None => format!("{line}\n"),
    };
    plan.lines().map(cached).collect()
}

#[test]
fn commands() {
    check(&[
        Pair {
            what: "another command",
            after: r#"guest:run "configure --fast""#,
            because: r#"operation 2 of mariadb: run "configure --fast" was "configure""#,
            ..PAIR
        },
        Pair {
            what: "words instead of a line",
            after: r#"guest:run { "configure", "it" }"#,
            because: r#"operation 2 of mariadb: run {"configure", "it"} was "configure""#,
            ..PAIR
        },
        Pair {
            what: "another variable of the environment",
            before: "guest:run('configure', { env = { LANG = 'C' } })",
            after: "guest:run('configure', { env = { LANG = 'de' } })",
            because: r#"operation 2 of mariadb: run "configure": env LANG "de" was "C""#,
            ..PAIR
        },
        Pair {
            what: "another user",
            before: "guest:run('configure', { user = 'mysql' })",
            after: "guest:run('configure', { user = 'root' })",
            because: r#"operation 2 of mariadb: run "configure": user "root" was "mysql""#,
            ..PAIR
        },
        Pair {
            what: "no user any more",
            before: "guest:run('configure', { user = 'mysql' })",
            because: r#"operation 2 of mariadb: run "configure": user none was "mysql""#,
            ..PAIR
        },
        Pair {
            what: "another directory",
            after: "guest:run('configure', { cwd = '/tmp' })",
            because: r#"operation 2 of mariadb: run "configure": cwd "/tmp" was none"#,
            ..PAIR
        },
        Pair {
            what: "another input",
            before: "guest:run('configure', { stdin = 'a' })",
            after: "guest:run('configure', { stdin = 'b' })",
            because: r#"operation 2 of mariadb: run "configure": stdin changed: 1776.. -> 10e5.."#,
            ..PAIR
        },
        Pair {
            what: "no input any more",
            before: "guest:run('configure', { stdin = 'a' })",
            because: r#"operation 2 of mariadb: run "configure": stdin is gone"#,
            ..PAIR
        },
        Pair {
            what: "several options at once",
            after: "guest:run('configure', { env = { A = '1' }, cwd = '/tmp', user = 'mysql', stdin = 'in' })",
            because: "operation 2 of mariadb: run \"configure\": user \"mysql\" was none, cwd \"/tmp\" was none, \
                      env A \"1\" was none, stdin is new",
            ..PAIR
        },
    ]);
}

#[test]
fn files() {
    const CONTENTS: (&str, &str, &str) = ("conf/my.cnf", "port=3306", "port=3307");
    check(&[
        Pair {
            what: "another content of a pushed file",
            before: "guest:push('conf/my.cnf', '/etc/my.cnf')",
            after: "guest:push('conf/my.cnf', '/etc/my.cnf')",
            file: CONTENTS,
            because: "operation 2 of mariadb: file conf/my.cnf changed: 8209.. -> 114d..",
            ..PAIR
        },
        Pair {
            what: "another content of a file that is read and written",
            before: "guest:write('/etc/my.cnf', host.read 'conf/my.cnf')",
            after: "guest:write('/etc/my.cnf', host.read 'conf/my.cnf')",
            file: CONTENTS,
            because: "operation 2 of mariadb: file conf/my.cnf changed: 8209.. -> 114d..",
            ..PAIR
        },
        Pair {
            what: "another content of a file that is read for a command",
            before: "guest:run('set ' .. host.read 'conf/my.cnf')",
            after: "guest:run('set ' .. host.read 'conf/my.cnf')",
            file: CONTENTS,
            because: r#"operation 2 of mariadb: run "set port=3307" was "set port=3306""#,
            ..PAIR
        },
        Pair {
            what: "another text that is written",
            before: "guest:write('/etc/my.cnf', 'port=3306')",
            after: "guest:write('/etc/my.cnf', 'port=3307')",
            because: "operation 2 of mariadb: file /etc/my.cnf changed: 8209.. -> 114d..",
            ..PAIR
        },
        Pair {
            what: "other permissions",
            before: "guest:write('/etc/my.cnf', '', { mode = '0644' })",
            after: "guest:write('/etc/my.cnf', '', { mode = '0600' })",
            because: r#"operation 2 of mariadb: write /etc/my.cnf: mode "0600" was "0644""#,
            ..PAIR
        },
        Pair {
            what: "another owner",
            before: "guest:write('/etc/my.cnf', '')",
            after: "guest:write('/etc/my.cnf', '', { owner = 'mysql' })",
            because: r#"operation 2 of mariadb: write /etc/my.cnf: owner "mysql" was none"#,
            ..PAIR
        },
    ]);
}

#[test]
fn operations_that_come_and_go() {
    check(&[
        Pair {
            what: "one more at the end",
            part: START,
            before: START,
            after: r#"guest:run "start" guest:sync()"#,
            because: "operation 4 of mariadb is new: sync",
            ..PAIR
        },
        Pair {
            what: "one more in the middle",
            after: r#"guest:sync() guest:run "configure""#,
            because: r#"operation 2 of mariadb: sync was run "configure""#,
            ..PAIR
        },
        Pair {
            what: "one less at the end",
            part: START,
            before: START,
            after: "",
            because: r#"operation 3 of mariadb is gone: run "start""#,
            ..PAIR
        },
        Pair {
            what: "one less in the middle",
            after: "",
            because: "operation 2 of mariadb: run \"start\" was operation 3, \
                      and run \"configure\" is gone or comes later",
            ..PAIR
        },
        Pair {
            what: "another order",
            part: r#"guest:run "install" guest:run "configure""#,
            before: r#"guest:run "install" guest:run "configure""#,
            after: r#"guest:run "configure" guest:run "install""#,
            because: "operation 1 of mariadb: run \"configure\" was operation 2, \
                      and run \"install\" is gone or comes later",
            ..PAIR
        },
    ]);
}

#[test]
fn machines() {
    let machine =
        |what, after, because| Pair { what, part: IMAGE, before: IMAGE, after, plan: OF_BASE, because, ..PAIR };
    check(&[
        Pair {
            what: "another image",
            file: ("disk.qcow2", DISK, OTHER_DISK),
            plan: OF_BASE,
            because: "the machine's image changed: sha256:076a27c7.. -> sha256:6caf38d5..",
            ..PAIR
        },
        machine(
            "more memory",
            "image.file('disk.qcow2'), memory = '2GiB'",
            "the machine's `memory` was 1073741824, is now 2147483648",
        ),
        machine("more processors", "image.file('disk.qcow2'), cpus = 2", "the machine's `cpus` was 1, is now 2"),
        machine(
            "a larger disk",
            "image.file('disk.qcow2'), disk = '9GiB'",
            "the machine's `disk` was null, is now 9663676416",
        ),
        machine(
            "two things at once",
            "image.file('disk.qcow2'), cpus = 2, firmware = 'uefi'",
            "the machine's `cpus` was 1, is now 2, its `firmware` was \"bios\", is now \"uefi\"",
        ),
    ]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a row for each kind of change")]
fn branches() {
    check(&[
        Pair {
            what: "a step that others depend on",
            part: r#"guest:run "update""#,
            before: r#"guest:run "update""#,
            after: r#"guest:run "update -q""#,
            plan: OF_UPDATED,
            because: r#"operation 1 of updated: run "update -q" was "update""#,
            ..PAIR
        },
        Pair {
            what: "another parent",
            part: r#"updated:branch("mariadb""#,
            before: r#"updated:branch("mariadb""#,
            after: r#"base:branch("mariadb""#,
            plan: "
    base: cached
      |
      +- mariadb: stale (because: {})
      |   |
      |   +- loaded: stale (parent mariadb is stale)
      |
      +- updated: cached
          |
          +- postgresql: cached
",
            because: "its parent was `updated`, is now `base`",
            ..PAIR
        },
        Pair {
            what: "one more branch",
            part: r#"updated:branch("postgresql""#,
            before: r#"updated:branch("postgresql""#,
            after: r#"updated:branch("tools", function(guest) guest:run "tools" end) updated:branch("postgresql""#,
            plan: "
    base: cached
      |
      +- updated: cached
          |
          +- mariadb: cached
          |   |
          |   +- loaded: cached
          |
          +- postgresql: cached
          +- tools: missing
",
            ..PAIR
        },
        Pair {
            what: "another named input",
            part: OPTIONS,
            before: "{ inputs = { schema = '3' } }",
            after: "{ inputs = { schema = '4' } }",
            because: r#"input "schema" was "3", is now "4""#,
            ..PAIR
        },
        Pair {
            what: "too old a snapshot",
            part: OPTIONS,
            before: "{ max_age = '7d' }",
            after: "{ max_age = '7d' }",
            spoil: |ran| {
                change(ran, |mariadb| {
                    let created = mariadb["created"].as_u64().expect("a time");
                    mariadb["created"] = json!(created - 8 * 24 * 60 * 60);
                })
            },
            because: "it is 8 days old, its max_age is 7 days",
            ..PAIR
        },
        Pair {
            what: "a branch that is asked for",
            args: &["--rebuild", "mariadb"],
            because: "--rebuild asks for it",
            ..PAIR
        },
        Pair {
            what: "a root that is asked for",
            args: &["--rebuild", "lab/base"],
            plan: OF_BASE,
            because: "--rebuild asks for it",
            ..PAIR
        },
    ]);
}

#[test]
fn what_is_left_of_a_node() {
    check(&[
        Pair { what: "no layer any more", spoil: remove_layer, because: "its layer `[LAYER]` is missing", ..PAIR },
        Pair {
            what: "a record of another version",
            spoil: |ran| change(ran, |mariadb| mariadb["document"]["metadata"]["attributes"]["schema"] = json!("7")),
            because: "another version of snaptree built it, with schema 7: this one has schema 1",
            ..PAIR
        },
        Pair {
            what: "a journal that cannot be read",
            spoil: |ran| change(ran, |mariadb| mariadb["document"]["metadata"]["payload"] = json!("AAAA")),
            because: "the journal is damaged",
            ..PAIR
        },
    ]);
}

/// Changes the snapshot `mariadb` in the fake hypervisor's own file.
fn change(ran: &Ran, change: impl FnOnce(&mut Value)) -> String {
    let mut state = ran.state();
    change(&mut state["domains"]["lab"]["snapshots"]["mariadb"]);
    std::fs::write(ran.path().join("state.json"), state.to_string()).expect("cannot write the state");
    String::new()
}

/// Removes the layer of `mariadb` and returns its path.
fn remove_layer(ran: &Ran) -> String {
    let machines = std::fs::read_dir(ran.path().join("store/machines")).expect("a store");
    let mut files = machines.flatten().flat_map(|machine| std::fs::read_dir(machine.path()).expect("a machine"));
    let is_layer = |file: &std::fs::DirEntry| {
        let name = file.file_name().to_string_lossy().into_owned();
        name.starts_with("mariadb-") && name.ends_with(".qcow2")
    };
    let layer = files.by_ref().flatten().find(is_layer).expect("a layer").path();
    std::fs::remove_file(&layer).expect("it is there");
    layer.display().to_string().replace(&ran.path().display().to_string(), "[DIR]")
}

#[test]
fn a_result_that_was_too_large_to_record_is_never_cached() {
    let script = TREE.replace(CONFIGURE, "guest:write('/big', ('x'):rep(2 ^ 20 + 1)) guest:read '/big'");
    let reason = "operation 3 of mariadb: read /big gave 1048577 bytes, more than the 1048576 that a journal keeps";
    let plan = OF_MARIADB.replace("{}", reason);
    let ran = built(Test::new().file("disk.qcow2", DISK), &script);
    for _ in 0..2 {
        ran.again().args(["plan", "script.lua"]).status(2).stdout(&plan).run();
        let started = ran.started().len();
        assert_eq!(built(ran.again(), &script).started().len(), started + 2);
    }
}

#[test]
fn a_status_that_is_a_failure_now_is_told() {
    let unchecked = TREE.replace(CONFIGURE, "guest:run('false', { check = false })");
    let checked = TREE.replace(CONFIGURE, "guest:run 'false'");
    let ran = built(Test::new().file("disk.qcow2", DISK), &unchecked);
    let reason = "operation 2 of mariadb had exit status 1, which is a failure now: run \"false\"";
    let plan = OF_MARIADB.replace("{}", reason);
    ran.again().script(&checked).args(["plan", "script.lua"]).status(2).stdout(&plan).run();
}
