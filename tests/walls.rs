//! The rules of DESIGN.md that the compiler does not hold: who may name what.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::repository;
use crate::support::source::{calls, code_of, has_word};

const LONGEST_FILE: usize = 400;
const LONGEST_FILE_OF_TESTS: usize = 500;

/// A source file: its path below `src` and its code without comments and literals.
struct Source {
    path: String,
    lines: usize,
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_string(), lines: text.lines().count(), code: code_of(text) }
    }

    /// The directory or file right below `src` that it belongs to.
    fn room(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }
}

/// Lists the rules that a file breaks.
fn broken(source: &Source) -> Vec<String> {
    let mut broken = Vec::new();
    let room = source.room();
    let mut forbid = |what: &str, because: &str| broken.push(format!("src/{}: {what}: {because}", source.path));

    for (word, owner) in [
        ("anyhow", "cli"),
        ("mlua", "lua"),
        ("virt", "libvirt"),
        ("virt_sys", "libvirt"),
        ("rustyline", "repl"),
        ("termios", "ui"),
    ] {
        if room != owner && has_word(&source.code, word) {
            forbid(&format!("`{word}`"), &format!("only src/{owner} may name it"));
        }
    }
    if source.path != "libvirt/raw.rs" && has_word(&source.code, "unsafe") {
        forbid("`unsafe`", "only src/libvirt/raw.rs may need it");
    }
    if room != "ui" {
        for printer in ["println!", "eprintln!", "print!", "eprint!", "stdout()", "stderr()"] {
            if calls(&source.code, printer) {
                forbid(&format!("`{printer}`"), "src/ui is the only printer");
            }
        }
    }
    if source.path != "tree/machine/engine.rs" && source.code.contains("impl Engine ") {
        forbid("`impl Engine`", "what is done with the engine is a function of the room that does it");
    }
    let longest = if source.path.contains("tests") { LONGEST_FILE_OF_TESTS } else { LONGEST_FILE };
    if source.lines > longest {
        forbid(&format!("{} lines", source.lines), &format!("a file past {longest} wants to be two"));
    }
    broken
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("cannot list a directory") {
        let path = entry.expect("cannot list a directory").path();
        match path.is_dir() {
            true => files.extend(rust_files(&path)),
            false if path.extension().is_some_and(|extension| extension == "rs") => files.push(path),
            false => {}
        }
    }
    files.sort();
    files
}

#[test]
fn every_room_keeps_to_its_walls() {
    let root = repository().join("src");
    let files = rust_files(&root);
    assert!(files.len() > 10, "the source is not where it was");
    let broken: Vec<String> = files
        .iter()
        .flat_map(|path| {
            let text = fs::read_to_string(path).expect("cannot read a source file");
            let path = path.strip_prefix(&root).expect("the file is below src").to_string_lossy().into_owned();
            broken(&Source::new(&path, &text))
        })
        .collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn no_test_file_is_too_long() {
    for path in rust_files(&repository().join("tests")) {
        let lines = fs::read_to_string(&path).expect("cannot read a test file").lines().count();
        assert!(lines <= LONGEST_FILE_OF_TESTS, "{} has {lines} lines", path.display());
    }
}

#[test]
fn no_test_file_is_forgotten() {
    let directory = repository().join("tests");
    let main = code_of(&fs::read_to_string(directory.join("main.rs")).expect("cannot read tests/main.rs"));
    for entry in fs::read_dir(&directory).expect("cannot list tests") {
        let path = entry.expect("cannot list tests").path();
        let holds_tests = path.extension().is_some_and(|it| it == "rs") || path.join("mod.rs").exists();
        let module = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        if holds_tests && module != "main" {
            assert!(main.contains(&format!("mod {module};")), "tests/main.rs lacks `mod {module};`");
        }
    }
}

#[test]
fn the_walls_stop_what_they_should() {
    for (path, text) in [
        ("tree/node.rs", "use mlua::Lua;"),
        ("cli/mod.rs", "fn f(lua: &mlua::Lua) {}"),
        ("tree/node.rs", "use virt::connect::Connect;"),
        ("agent/mod.rs", "use virt_sys as sys;"),
        ("cli/mod.rs", "use rustyline::Editor;"),
        ("cli/shell.rs", "use rustix::termios::tcgetattr;"),
        ("error.rs", "fn f() { eprintln!(\"no\"); }"),
        ("cli/mod.rs", "fn f() { print!(\"no\"); }"),
        ("cli/mod.rs", "let out = std::io::stdout();"),
        ("cli/mod.rs", "use std::io::stderr; fn f() { stderr().lock(); }"),
        ("libvirt/mod.rs", "fn f() { unsafe { g() } }"),
        ("tree/change/gc.rs", "impl Engine { fn gc(&self) {} }"),
        ("name.rs", &"\n".repeat(LONGEST_FILE + 1)),
        ("agent/tests.rs", &"\n".repeat(LONGEST_FILE_OF_TESTS + 1)),
    ] {
        assert_eq!(broken(&Source::new(path, text)).len(), 1, "src/{path}: {text}");
    }
}

#[test]
fn the_walls_let_through_what_they_should() {
    for (path, text) in [
        ("lua/mod.rs", "use mlua::Lua;"),
        ("libvirt/mod.rs", "use virt::connect::Connect; use crate::agent;"),
        ("libvirt/raw.rs", "fn f() { unsafe { g() } }"),
        ("repl/mod.rs", "use rustyline::Editor;"),
        ("ui/terminal.rs", "use rustix::termios::tcgetattr;"),
        ("ui/mod.rs", "fn f() { println!(); std::io::stderr(); }"),
        ("tree/node.rs", "//! [`crate::ui`] draws it, mlua does not. println!()\n/* unsafe /* virt */ mlua */"),
        (
            "tree/node.rs",
            "const A: &str = \"mlua \\\" unsafe\"; const B: &str = r#\"virt \" mlua\"#; const C: char = '\"';",
        ),
        ("tree/node.rs", "fn f<'a>(command: &'a mut Command) { command.stdout(x).stderr(y); child.stdout(); }"),
        ("libvirt/mod.rs", "#![deny(unsafe_code)]"),
        ("name.rs", &"\n".repeat(LONGEST_FILE)),
        ("agent/tests.rs", &"\n".repeat(LONGEST_FILE_OF_TESTS)),
    ] {
        assert_eq!(broken(&Source::new(path, text)), Vec::<String>::new(), "src/{path}: {text}");
    }
}
