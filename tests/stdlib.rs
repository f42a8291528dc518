//! The modules that ship with snaptree: the exact commands that reach a guest or a workshop.

mod apt;
mod images;
mod mariadb;
mod postgresql;

use serde_json::{Value, json};

use crate::support::{DISK, Ran, Test, repository};

/// Prepares a run of a step of these lines.
fn step(lines: &str) -> Test {
    let base = "machine('lab', { image = image.file('i.qcow2') }):root('base')";
    let script = format!("{base}:branch('child', function(guest)\n{lines}\nend)");
    Test::new().file("i.qcow2", DISK).script(&script).args(["run", "script.lua"]).any_stdout().any_stderr()
}

/// Runs these lines in a step, in a guest that answers so.
#[track_caller]
fn in_guest(lines: &str, answers: Value) -> Ran {
    step(lines).answers(answers).run()
}

/// Checks that a line in a step fails with an error that begins so.
#[track_caller]
fn refuses(line: &str, error: &str) {
    refuses_with(json!([]), line, error);
}

#[track_caller]
fn refuses_with(answers: Value, line: &str, error: &str) {
    let ran = step(line).answers(answers).status(1).run();
    let said = ran.stderr.split_once("error: script.lua:2: ").map(|(_, said)| said).unwrap_or(&ran.stderr);
    assert!(said.starts_with(error), "{said}");
}

#[test]
fn every_module_has_a_stub_and_a_file_of_tests() {
    let names = |directory: &str| {
        let files = std::fs::read_dir(repository().join(directory)).expect("a directory");
        let names = files.map(|file| file.expect("a file").file_name().into_string().expect("a name"));
        names.collect::<Vec<_>>()
    };
    for file in names("stdlib").into_iter().filter(|name| name != "meta") {
        let module = file.trim_end_matches(".lua");
        assert!(repository().join(format!("tests/stdlib/{module}.rs")).exists(), "{module} has no tests");
        assert!(names("stdlib/meta").contains(&file), "{module} has no stub");
        let source = std::fs::read_to_string(repository().join("stdlib").join(&file)).unwrap_or_default();
        assert!(!source.contains("\n---"), "{file} documents what its stub does");
    }
    assert_eq!(names("stdlib/images").len(), names("stdlib/meta/images").len());
}
