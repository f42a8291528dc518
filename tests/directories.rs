//! Directories that go into guests and come out of them, on the fake hypervisor.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::support::{Ran, Test};

const HEAD: &str = "local base = machine('lab', { image = require 'images.tiny' {} }):root('base')\n";

const CACHED: &str = "base: cached.\nchild: cached.\nbase (current)\n  |\n  +- child\n";

fn step(lines: &str) -> String {
    format!("{HEAD}base:branch('child', function(guest)\n{lines}\nend)")
}

/// Runs a script beside a directory `app`.
fn run(script: &str) -> Ran {
    let test = Test::new().file("app/a.conf", "one").file("app/sub/run", "#!/bin/sh").file("app/sub/b.o", "object");
    fs::create_dir(test.path().join("app/empty")).unwrap();
    fs::set_permissions(test.path().join("app/sub/run"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("../a.conf", test.path().join("app/sub/link")).unwrap();
    test.script(script).args(["run", "script.lua"]).any_stderr().run()
}

/// Every path below a directory, with what is there.
fn content(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let (name, metadata) = (path.file_name().unwrap().to_str().unwrap(), path.symlink_metadata().unwrap());
        let mode = metadata.permissions().mode() & 0o7777;
        if metadata.is_symlink() {
            found.push(format!("{name} -> {}", fs::read_link(&path).unwrap().display()));
        } else if metadata.is_dir() {
            found.push(format!("{name}/ {mode:o}"));
            found.extend(content(&path).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            found.push(format!("{name} {mode:o} {}", fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_directory_goes_into_a_guest_and_comes_out_again() {
    let script = step("guest:push('app', '/srv/app') guest:pull('/srv/app', 'back')");
    let first = run(&script);
    let expected = [
        "a.conf 644 one",
        "empty/ 755",
        "sub/ 755",
        "sub/b.o 644 object",
        "sub/link -> ../a.conf",
        "sub/run 755 #!/bin/sh",
    ];
    assert_eq!(content(&first.path().join("back")), expected);
    first.again().args(["exec", "lab/child", "--", "cat", "/srv/app/a.conf"]).stdout("one").any_stderr().run();
    let log = first.again().args(["log", "lab/child"]).any_stdout().run().stdout;
    let pushed = "1: push directory /srv/app, 18 bytes (";
    assert!(log.contains(pushed) && log.contains("\n    > sub/link\n"), "{log}");

    // From the journal, into what is there: nothing else is touched.
    fs::remove_file(first.path().join("back/a.conf")).unwrap();
    fs::write(first.path().join("back/mine"), "mine").unwrap();
    first.again().args(["run", "script.lua"]).stderr(CACHED).run();
    let again = content(&first.path().join("back"));
    assert_eq!(
        again.iter().filter(|line| *line != "mine 644 mine").collect::<Vec<_>>(),
        expected.iter().collect::<Vec<_>>()
    );
    fs::remove_dir_all(first.path().join("back")).unwrap();
    first.again().args(["plan", "script.lua"]).stdout("base: cached\n  |\n  +- child: cached\n").run();
    assert!(!first.path().join("back").exists(), "a plan writes nothing");
}

#[test]
fn options_decide_what_goes_along() {
    let script = step(
        "guest:push('app', '/srv/app', { exclude = { '*.o', '/empty' }, owner = 'www-data' })
         guest:pull('/srv/app', 'back', { exclude = 'sub/run' })
         guest:push('app', '/srv/whole', { preserve = true })
         guest:pull('/srv/whole', 'whole', { preserve = true, exclude = { 'b.o', 'link', 'empty', 'a.conf' } })",
    );
    let ran = run(&script);
    assert_eq!(content(&ran.path().join("back")), ["a.conf 644 one", "sub/ 755", "sub/link -> ../a.conf"]);
    assert_eq!(content(&ran.path().join("whole")), ["sub/ 755", "sub/run 700 #!/bin/sh"]);
    let state = fs::read_to_string(ran.path().join("state.json")).unwrap();
    assert!(state.contains("\"owner\": \"1000:1000\"") || state.contains("\"owner\":\"1000:1000\""), "{state}");
}

#[test]
fn only_what_decides_the_effect_rebuilds() {
    let script = step("guest:push('app', '/srv/app', { exclude = '*.o' })");
    let first = run(&script);
    let stale = |because: &str| {
        let plan =
            format!("base: cached\n  |\n  +- child: stale (because: operation 1 of child: push /srv/app: {because})\n");
        first.again().args(["plan", "script.lua"]).status(2).stdout(&plan).run();
        first.again().args(["run", "script.lua"]).any_stderr().run();
    };
    let at = |name: &str| first.path().join(name);
    // Times, what is excluded, and where the directory lies.
    fs::File::open(at("app/a.conf")).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    fs::write(at("app/sub/b.o"), "another object").unwrap();
    first.again().args(["plan", "script.lua"]).stdout("base: cached\n  |\n  +- child: cached\n").run();
    fs::rename(at("app"), at("moved")).unwrap();
    let moved = script.replace("'app'", "'moved'");
    first.again().script(&moved).args(["plan", "script.lua"]).stdout("base: cached\n  |\n  +- child: cached\n").run();

    fs::write(at("moved/a.conf"), "two").unwrap();
    stale("`a.conf` changed");
    fs::set_permissions(at("moved/a.conf"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(at("moved/new"), "").unwrap();
    fs::remove_dir(at("moved/empty")).unwrap();
    stale("`a.conf` changed, `empty` is gone, `new` is new");
    for n in 0..4 {
        fs::write(at(&format!("moved/n{n}")), "").unwrap();
    }
    stale("`n0` is new, `n1` is new, `n2` is new and 1 more");
    let owned = moved.replace("exclude = '*.o'", "exclude = '*.o', owner = 'www-data'");
    let because = "operation 1 of child: push /srv/app: owner \"www-data\" was none";
    let plan = format!("base: cached\n  |\n  +- child: stale (because: {because})\n");
    first.again().script(&owned).args(["plan", "script.lua"]).status(2).stdout(&plan).run();
}

#[test]
fn a_directory_is_made_the_same_as_on_the_host() {
    let first =
        run(&step("guest:push('app', '/srv/app') guest:write('/srv/app/log', 'kept') guest:write('/srv/app/old', '')"));
    fs::write(first.path().join("app/a.conf"), "two").unwrap();
    let synced = format!(
        "{HEAD}base:branch('child', function(guest)
           guest:push('app', '/srv/app') guest:write('/srv/app/log', 'kept') guest:write('/srv/app/old', '')
           guest:sync_dir('app', '/srv/app')
           guest:pull('/srv/app', 'merged')
           guest:sync_dir('app', '/srv/app', {{ delete = true, exclude = {{ 'log', 'b.o' }} }})
           guest:pull('/srv/app', 'same')
         end)"
    );
    first.again().script(&synced).args(["run", "script.lua"]).any_stderr().run();
    let files = |name: &str| -> Vec<String> {
        let lines = content(&first.path().join(name)).into_iter();
        lines.map(|line| line.split_once(' ').unwrap().0.to_string()).collect()
    };
    assert_eq!(files("merged"), ["a.conf", "empty/", "log", "old", "sub/", "sub/b.o", "sub/link", "sub/run"]);
    assert_eq!(files("same"), ["a.conf", "empty/", "log", "sub/", "sub/b.o", "sub/link", "sub/run"]);
    assert_eq!(fs::read_to_string(first.path().join("same/a.conf")).unwrap(), "two");
    let log = first.again().args(["log", "lab/child"]).any_stdout().run().stdout;
    assert!(log.contains(" bytes (") && log.contains(" deleting the rest without \"log\", \"b.o\": "), "{log}");
    first.again().args(["run", "script.lua"]).stderr(CACHED).run();
}

/// Checks the error of a step.
fn fails(lines: &str, error: &str) {
    let test = Test::new().file("app/a", "one").file("file", "");
    let script = step(lines);
    let ran = test.script(&script).args(["run", "script.lua"]).status(1).any_stderr().run();
    let (_, said) = ran.stderr.split_once("error: script.lua:").expect(&ran.stderr);
    let (_, said) = said.split_once(": ").expect(said);
    assert_eq!(said, format!("{error}\n"), "{lines}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_refusal_says_why() {
    for (lines, error) in [
        (
            "guest:push('app', '/srv', { mode = '0644' })",
            "guest:push: `mode` is for files, and `app` is a directory\nhint: `preserve = true` keeps the modes",
        ),
        (
            "guest:push('app', '/srv', { owner = 'x', preserve = true })",
            "guest:push: `owner` and `preserve` exclude each other\nhint: leave one of them out",
        ),
        (
            "guest:push('app', '/srv', { exclude = { '!a' } })",
            "guest:push: cannot exclude \"!a\": a pattern cannot include again what others exclude",
        ),
        (
            "guest:push('app', '/srv', { exclude = 7 })",
            "guest:push: `exclude` must be a string or a list of strings, none of them empty, not 7",
        ),
        (
            "guest:push('file', '/f', { exclude = 'a' })",
            "guest:push: `exclude` is for directories, and `file` is a file",
        ),
        (
            "guest:push('file', '/f', { preserve = true })",
            "guest:push: `preserve` is for directories, and `file` is a file",
        ),
        ("guest:push('nodir', '/srv', { exclude = 'a' })", "cannot read `nodir`: No such file or directory"),
        (
            "guest:write('/f', '') guest:push('app', '/f')",
            "cannot write `/f` in the guest: it is a file, and `app` is a directory",
        ),
        ("guest:push('app', '/srv') guest:push('file', '/srv')", "cannot write `/srv` in the guest: Is a directory"),
        ("guest:pull('/none', 'x')", "cannot read `/none` in the guest: no such file or directory"),
        (
            "guest:pull('/none', 'x', { preserve = true })",
            "cannot read `/none` in the guest: No such file or directory",
        ),
        (
            "guest:write('/f', '') guest:pull('/f', 'x', { exclude = 'a' })",
            "cannot pull `/f`: it is a file, and `exclude` and `preserve` are for directories",
        ),
        (
            "guest:write('/f', '') guest:pull('/f', 'app')",
            "cannot write `app`: it is a directory, and `/f` in the guest is a file\nhint: name the file to be written",
        ),
        (
            "guest:push('app', '/srv') guest:pull('/srv', 'file')",
            "cannot write `file`: it is a file, and `/srv` in the guest is a directory",
        ),
        (
            "guest:push('app', '/srv') guest:pull('/srv', 'no/where')",
            "cannot write `no/where`: No such file or directory",
        ),
        ("guest:push('app', '/srv') guest:read('/srv')", "cannot read `/srv` in the guest: Is a directory"),
        ("guest:sync_dir('file', '/srv')", "guest:sync_dir: `file` is a file\nhint: `guest:push` sends a file"),
        ("guest:sync_dir('nodir', '/srv')", "cannot read `nodir`: No such file or directory"),
        (
            "guest:write('/f', '') guest:sync_dir('app', '/f')",
            "cannot write `/f` in the guest: it is a file, and `app` is a directory",
        ),
        (
            "guest:write('/srv/a/b', '') guest:sync_dir('app', '/srv')",
            "cannot write `/srv` in the guest: `a` is a file in `app`, and a directory in the guest\n\
             hint: delete it in the guest first, or pass `delete = true`",
        ),
        (
            "guest:sync_dir('app', '/srv', { deleted = true })",
            "guest:sync_dir: unknown option `deleted`\nhint: did you mean `delete`?",
        ),
    ] {
        fails(lines, error);
    }
}

#[test]
fn a_special_file_is_refused_before_anything_is_sent() {
    let test = Test::new().file("app/a", "one");
    let _socket = std::os::unix::net::UnixListener::bind(test.path().join("app/sock")).unwrap();
    let ran = test.script(&step("guest:push('app', '/srv')")).args(["run", "script.lua"]).status(1).any_stderr().run();
    let error = "cannot copy `app`: `sock` in it is a socket\nhint: leave it out: exclude = { \"/sock\" }\n";
    assert!(ran.stderr.ends_with(error), "{}", ran.stderr);
    let leaving = step("guest:push('app', '/srv', { exclude = { '/sock' } })");
    ran.again().script(&leaving).args(["run", "script.lua"]).any_stderr().run();
}

#[test]
fn a_directory_that_is_too_large_for_a_journal_is_known_by_its_digest() {
    let script = step("guest:push('app', '/srv') guest:pull('/srv', 'back')");
    let test = Test::new().file("app/large", vec![7; 3 << 20]);
    let first = test.script(&script).args(["run", "script.lua"]).any_stderr().run();
    first.again().args(["run", "script.lua"]).stderr(CACHED).run();
    fs::write(first.path().join("back/large"), "small").unwrap();
    let because = "operation 2 of child: read /srv has to write `back` again";
    let plan = format!("base: cached\n  |\n  +- child: stale (because: {because})\n");
    first.again().args(["plan", "script.lua"]).status(2).stdout(&plan).run();
    first.again().args(["run", "script.lua"]).any_stderr().run();
    assert_eq!(fs::read(first.path().join("back/large")).unwrap().len(), 3 << 20);
}

#[test]
fn cp_uses_the_same_way() {
    let ran = run(&step("guest:push('app', '/srv')"));
    let copied = ran.again().args(["cp", "lab/child:/srv", "copied"]).any_stderr().run();
    assert_eq!(content(&copied.path().join("copied")).len(), 6);
    ran.again().args(["cp", "lab/child:/srv/a.conf", "one"]).any_stderr().run();
    assert_eq!(fs::read_to_string(ran.path().join("one")).unwrap(), "one");
    ran.again()
        .args(["cp", "lab/child:/none", "x"])
        .status(1)
        .stderr_contains("error: cannot read `/none` in the guest: No such file or directory\n")
        .run();
}
