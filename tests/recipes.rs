//! The example of `docs/testing-recipes.md`, as it is written there.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::{Test, repository};

/// Lists the blocks of code in the document: the name of the file that each is, and its text.
fn blocks() -> Vec<(String, String)> {
    let document = std::fs::read_to_string(repository().join("docs/testing-recipes.md")).expect("the document");
    let mut blocks = Vec::new();
    let mut rest = document.as_str();
    while let Some((_, opened)) = rest.split_once("\n```") {
        let (heading, body) = opened.split_once('\n').expect("a block has lines");
        let (block, after) = body.split_once("\n```\n").expect("a block has an end");
        let name = heading.split_once(' ').map(|(_, name)| name).expect("a block that is no file is never run");
        blocks.push((name.to_string(), format!("{block}\n")));
        rest = after;
    }
    blocks
}

/// Runs the test of the example, with nothing but the binary and what every system has.
fn run_test(test: &Test) -> Output {
    let directory = Path::new(env!("CARGO_BIN_EXE_snaptree")).parent().expect("the binary is in a directory");
    Command::new("sh")
        .arg("test.sh")
        .current_dir(test.path())
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", directory.display()))
        .envs(["HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"].map(|name| (name, test.path().join("home"))))
        .output()
        .expect("cannot run sh")
}

#[test]
fn the_documented_example_works() {
    let files = blocks();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["recipe.lua", "answers.json", "no-network.json", "test.sh"]);
    let test = files.iter().fold(Test::new(), |test, (name, text)| test.file(name, text));
    for _ in 0..2 {
        let output = run_test(&test);
        let said = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!((output.status.success(), said.0.as_ref(), said.1.as_ref()), (true, "passed\n", ""));
    }
    let is_there = |name: &str| test.path().join(name).exists();
    assert!(is_there("state.json.store/machines") && !is_there("home/snaptree/machines"), "the user's store is used");

    for (name, was, now) in [
        ("recipe.lua", "3307", "3306"),
        ("recipe.lua", "apt-get install", "apt install"),
        ("recipe.lua", "enable --now", "start"),
        ("answers.json", "11.4", "11.5"),
    ] {
        let text = &files.iter().find(|(file, _)| file == name).expect("the file").1;
        assert!(text.contains(was), "{name} has no {was}");
        let test = test.again().file(name, text.replace(was, now));
        assert!(!run_test(&test).status.success(), "it passes with {now} in {name}");
        let _ = test.again().file(name, text);
    }
}

#[test]
fn a_fake_without_a_file_leaves_nothing_behind() {
    let test = Test::new().connect("fake:").env("SNAPTREE_STORE", "");
    let script = "machine('lab', { image = require 'images.tiny' {} }):root('base')";
    let ran = test.script(script).args(["run", "script.lua"]).any_stderr().run();
    let entries = |name: &str| std::fs::read_dir(ran.path().join(name)).map_or(0, Iterator::count);
    assert_eq!((entries("tmp"), entries("home/.local/share")), (0, 0));
}
