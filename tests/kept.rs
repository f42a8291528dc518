//! A tree that an earlier version made: `tests/kept` has its script, the fake hypervisor's state and the store.
//!
//! The snaptree of commit 81b53ae built `base`, `web`, `db` and `tried` there, and deleted `tried`. `[DIR]` stands for
//! the directory. What this version writes may change; what it reads must not.

use std::path::Path;

use crate::support::{Test, repository};

const TREE: &str = "base (current)\n  |\n  +- db\n  +- web\n";

/// Copies the kept files into the directory of a test.
fn kept() -> Test {
    let mut test = Test::new();
    let from = repository().join("tests/kept");
    let mut directories = vec![from.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("the kept files") {
            let path = entry.expect("a file").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let text = std::fs::read_to_string(&path).expect("fake files are text");
                let text = text.replace("[DIR]", &test.path().display().to_string());
                test = test.file(name_below(&from, &path), text);
            }
        }
    }
    test
}

fn name_below<'a>(directory: &Path, path: &'a Path) -> &'a str {
    path.strip_prefix(directory).expect("it is below").to_str().expect("a plain name")
}

#[test]
fn a_kept_tree_is_read() {
    let test = kept();
    test.again().args(["tree", "lab"]).stdout(TREE).run();
    let log = "1: run \"apk add nginx\": [TIME]\n    status 0\n2: write /etc/nginx.conf, 10 bytes (9cdf683f): [TIME]\n";
    let log = format!("{log}3: read /etc/nginx.conf: [TIME]\n    | port = 80\n");
    test.again().args(["log", "lab/web"]).stdout(&log).run();
    let info = test.again().args(["info", "lab/db"]).any_stdout().run().stdout;
    let lines = ["Parent:         base", "RAM:            -", "                0  0 B  [DIR]/store/machines/lab-"];
    lines.iter().for_each(|line| assert!(info.lines().any(|it| it.starts_with(line)), "{line}: {info}"));
}

#[test]
fn a_kept_tree_is_run_with_nothing_rebuilt() {
    let test = kept();
    let cached = "base: cached\n  |\n  +- db: cached\n  +- web: cached\n";
    test.again().args(["plan", "script.lua"]).stdout(cached).stderr("web listens on 80\n").run();
    let ran = test.again().args(["run", "--frozen", "script.lua"]).stdout("web listens on 80\n").any_stderr().run();
    assert!(!ran.stderr.contains("built"), "{}", ran.stderr);
    assert_eq!((ran.executed().len(), ran.started().len()), (3, 3), "nothing but what the earlier version did");
}

#[test]
fn a_kept_snapshot_is_forked_from_its_ram_or_from_its_disk() {
    let missing = "cat: /etc/nginx.conf: No such file or directory\n";
    for (snapshot, status, stdout, stderr) in [("web", 0, "port = 80\n", ""), ("db", 1, "", missing)] {
        let args = ["exec", &format!("lab/{snapshot}"), "--", "cat", "/etc/nginx.conf"];
        let ran = kept().args(args).status(status).stdout(stdout).stderr(stderr).run();
        let machines = std::fs::read_dir(ran.path().join("store/machines")).expect("a directory of machines");
        let machine = machines.last().expect("a machine").expect("a directory").path();
        assert_eq!(machine.join("restores").exists(), snapshot == "web", "only RAM is counted as resumed");
    }
}

#[test]
fn a_kept_snapshot_is_branched_from() {
    let test = kept();
    let script = "machine.open('lab'):find('web'):branch('more', function(guest) guest:run 'more' end)";
    let ran = test.script(script).args(["run", "script.lua"]).any_stderr().run();
    assert_eq!(ran.executed().last().map(String::as_str), Some("more"));
    ran.again().args(["tree", "lab"]).stdout(&format!("{TREE}      |\n      +- more\n")).run();
}

#[test]
fn a_kept_deletion_is_undone() {
    let test = kept();
    test.again().args(["undo", "lab"]).stderr("Undid `delete tried` in `lab`.\n").run();
    test.again().args(["tree", "lab"]).stdout("base (current)\n  |\n  +- db\n  +- tried\n  +- web\n").run();
    test.again().args(["exec", "lab/tried", "--", "true"]).run();
}
