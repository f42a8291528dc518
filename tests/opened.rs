//! Recipes on machines that snaptree did not create: branches grow, and the machine itself stays as it is.

use std::fs::File;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::Ran;
use crate::support::web::{Web, contents};

const GROW: &str = "print(web:find 'clean':branch('new', function(guest) guest:run 'c' end).parent)";

/// A machine with the snapshot `clean` inside its disk, or below its overlay.
fn with_clean(kind: &str) -> Web {
    let disks = json!({ "disks": { "vda": "[DIR]/vm/web.base" } });
    match kind {
        "internal" => Web::new()
            .snapshot("clean", json!({ "disks": { "vda": "internal" } }))
            .with("layers", json!({ "[DIR]/vm/web.qcow2": { "has_file": true, "snapshots": { "clean": {} } } })),
        _ => Web::new()
            .file("vm/web.base")
            .snapshot("clean", json!({ "disks": { "vda": { "overlay": "[DIR]/vm/web.qcow2" } }, "document": disks }))
            .with("layers", json!({ "[DIR]/vm/web.qcow2": { "has_file": true, "backing": "[DIR]/vm/web.base" } })),
    }
}

fn domain(web: &Web) -> Value {
    let text = std::fs::read_to_string(web.test.path().join("state.json")).expect("a state");
    let mut state: Value = serde_json::from_str(&text).expect("JSON");
    let mut domain = state["domains"]["web"].take();
    domain["snapshots"].as_object_mut().expect("snapshots").retain(|name, _| name == "clean");
    domain
}

#[test]
fn a_branch_from_a_foreign_snapshot_is_built_once() {
    for kind in ["internal", "external"] {
        let web = with_clean(kind);
        web.does("edit web/clean --comment untouched");
        let (before, files) = (domain(&web), contents(&web.test.path().join("vm")));
        web.script(GROW)
            .stdout("web/clean\n")
            .stderr(
                "
                new: building, because it does not exist yet.
                new: booted in [TIME].
                new: 1: run \"c\"
                new: 1: done in [TIME].
                new: built in [TIME].
                ",
            )
            .run();
        let ran = web.script(GROW).stdout("web/clean\n").stderr("new: cached.\n").run();
        assert_eq!((ran.executed(), ran.started().len()), (vec!["c".to_string()], 1), "{kind}");
        assert_eq!(domain(&web), before, "{kind}: the machine and its snapshot are what they were");
        assert_eq!(contents(&web.test.path().join("vm")), files, "{kind}");
        web.run("log web/new").any_stdout().run();
    }
}

#[test]
fn a_branch_of_a_snapshot_that_was_taken_again_is_rebuilt() {
    let web = with_clean("external");
    web.script(GROW).any_stdout().any_stderr().run();
    let text = web.does("info web/clean --xml").stdout.replace("\"created\":0", "\"created\":7");
    web.run("snapshot web --xml - --redefine").stdin(web.here(&text)).any_stderr().run();
    let ran = web.script(GROW).any_stdout().any_stderr().run();
    assert!(ran.stderr.starts_with("new: building, because its parent `clean` was rebuilt.\n"), "{}", ran.stderr);
    assert_eq!(ran.executed(), ["c", "c"]);
}

fn touch(web: &Web, file: &str) {
    let file = File::options().write(true).open(web.test.path().join(file)).expect("a file");
    file.set_modified(SystemTime::now() + Duration::from_secs(10)).expect("cannot set a time");
}

const CACHED: &str = "here: cached.\nnew: cached.\n";

#[test]
fn a_root_is_what_the_machine_is_while_it_is_off() {
    let web = Web::new();
    let grow = "
        local here = web:root('here', { comment = 'as it is' })
        print(here, here.comment, here:branch('new', function(guest) guest:run 'c' end))
    ";
    let run = |stderr: &str| -> Ran { web.script(grow).stdout("web/here\tas it is\tweb/new\n").stderr(stderr).run() };
    let built = |root: &str, branch: &str| {
        format!(
            "here: building, because {root}.\n\
             here: built in [TIME].\n\
             new: building, because {branch}.\n\
             new: booted in [TIME].\n\
             new: 1: run \"c\"\n\
             new: 1: done in [TIME].\n\
             new: built in [TIME].\n"
        )
    };
    run(&built("it does not exist yet", "it does not exist yet"));
    run(CACHED);
    touch(&web, "vm/web.qcow2");
    run(&built("disk `vda` was written to since", "its parent `here` was rebuilt"));
    let ran = run(CACHED);
    assert_eq!(ran.executed(), ["c", "c"]);
    assert_eq!(ran.state()["domains"]["web"]["document"]["disks"]["vda"], web.here("[DIR]/vm/web.qcow2"));
}

#[test]
fn a_changed_description_makes_another_root() {
    let web = Web::new();
    web.script("web:root 'here'").any_stderr().run();
    let text = std::fs::read_to_string(web.test.path().join("state.json")).expect("a state");
    let mut state: Value = serde_json::from_str(&text).expect("JSON");
    state["domains"]["web"]["document"]["cpus"] = json!(4);
    std::fs::write(web.test.path().join("state.json"), state.to_string()).expect("cannot write the state");
    let ran = web.script("web:root 'here'").any_stderr().run();
    assert!(ran.stderr.starts_with("here: building, because the domain's description changed.\n"), "{}", ran.stderr);
    web.script("web:root 'here'").stderr("here: cached.\n").run();
}

#[test]
fn a_branch_of_a_machine_makes_its_root_itself() {
    let web = Web::new();
    let grow = "print(web:branch('new', function(guest) guest:run 'c' end, { comment = 'grown' }).parent)";
    web.script(grow).stdout("web/root\n").any_stderr().run();
    web.script(grow).stdout("web/root\n").stderr("root: cached.\nnew: cached.\n").run();
    touch(&web, "vm/web.qcow2");
    let ran = web.script(grow).stdout("web/root\n").any_stderr().run();
    assert!(ran.stderr.starts_with("root: building, because disk `vda` was written to since.\n"), "{}", ran.stderr);
    assert_eq!(ran.executed(), ["c", "c"]);
    let ran = web.script(grow).stdout("web/root\n").stderr("root: cached.\nnew: cached.\n").run();
    assert_eq!(ran.executed().len(), 2);
    web.run("list web --tree").stdout("root\n  |\n  +- new\n").run();
}

#[test]
fn several_branches_grow_from_an_opened_machine_and_its_snapshots() {
    let web = Web::new();
    let grow = "
        local here = web:root 'here'
        local both = here:branches { a = function(guest) guest:run 'a' end, b = function(guest) guest:run 'b' end }
        both.a:branch('c', function(guest) guest:run 'c' end)
        web:branch('d', function(guest) guest:run 'd' end)
    ";
    web.script(grow).any_stderr().run();
    let ran = web.script(grow).any_stderr().run();
    assert_eq!(ran.executed().len(), 4);
    assert!(ran.stderr.lines().all(|line| line.ends_with(": cached.")), "{}", ran.stderr);
    let drawn = "here\n  |\n  +- a\n  |   |\n  |   +- c\n  |\n  +- b\n\nroot\n  |\n  +- d\n";
    web.run("tree web").stdout(drawn).run();
    let ran = web.run("exec web/c -- true").run();
    assert_eq!(ran.domains(), ["web"]);
}

#[test]
fn a_foreign_machine_is_not_deleted() {
    let web = Web::new();
    web.script("web:branch('new', function() end)").any_stderr().run();
    web.refuses(
        "delete web --yes",
        "snaptree did not create the domain `web`, and will not delete it\n\
         hint: `snaptree delete web/SNAPSHOT` deletes a snapshot of it, `virsh undefine web` the domain",
    );
}
