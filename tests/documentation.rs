//! Every block of code in the documents, run on the fake hypervisor or checked against the binary.
//!
//! [`BLOCKS`] says of each block how: one without an entry fails, and so does an entry without a block. The blocks of a
//! document share a directory, in their order, as a reader would go through them.

mod block;

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{Ran, Test, repository};
use block::{Block, blocks, inline_code, read};

/// What becomes of a block.
enum Check {
    /// A script that runs after some lines which the document leaves out.
    ScriptAfter(&'static str),
    /// Lines for a shell, which run after a script that the document leaves out.
    ShellAfter(&'static str),
    /// Lines typed at the prompt, with what they print.
    Session,
    Json,
    /// A file of the example that `recipes` runs as a whole.
    FileOfRecipe,
    /// What a command prints, which has the block in it.
    PrintedBy(fn(&Test) -> String),
    /// A message of libvirt's side, which needs a real host: parts of it that are in the source.
    InSource(&'static [(&'static str, &'static str)]),
}

use Check::{FileOfRecipe, InSource, Json, PrintedBy, ScriptAfter, Session, ShellAfter};

const DOCUMENTS: [&str; 10] = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/clones.md",
    "docs/commands.md",
    "docs/disks.md",
    "docs/forks.md",
    "docs/lua.md",
    "docs/repl.md",
    "docs/testing-recipes.md",
    "docs/virsh.md",
];

/// The document, how the block begins, and its check.
const BLOCKS: &[(&str, &str, Check)] = &[
    ("README.md", "local debian, mariadb, postgresql", ScriptAfter("")),
    ("README.md", "sn01_kvm_debian12\n", PrintedBy(tree_of_databases)),
    ("README.md", "make demo", ShellAfter("")),
    ("README.md", "cargo build\n", ShellAfter("")),
    ("README.md", "target/debug/snaptree repl\n", ShellAfter("")),
    ("README.md", "snaptree> use", Session),
    ("README.md", "target/debug/snaptree snapshot hello", ShellAfter("")),
    ("README.md", "mariadb: building, because", PrintedBy(reason_of_a_changed_command)),
    ("README.md", "target/debug/snaptree fork", ShellAfter("")),
    ("README.md", "target/debug/snaptree log lab/mariadb", ShellAfter(FAILING)),
    ("README.md", "mariadb: resuming from", PrintedBy(progress_after_a_failed_try)),
    ("CONTRIBUTING.md", "make setup", ShellAfter("")),
    ("docs/clones.md", "error: `web/before` cannot be cloned", InSource(REFUSED_CLONE)),
    ("docs/commands.md", "base: cached\n", PrintedBy(plan_with_every_status)),
    ("docs/lua.md", "local dom = machine.open", ScriptAfter(CENTOS)),
    ("docs/lua.md", "local db <close>", ScriptAfter(SNAP)),
    ("docs/lua.md", "local version = param", ScriptAfter("")),
    ("docs/lua.md", "for _, v in ipairs { \"10.6\"", ScriptAfter(NODE)),
    ("docs/lua.md", "{\n  \"runtime.version\"", Json),
    ("docs/repl.md", "$ snaptree repl", Session),
    ("docs/testing-recipes.md", "local debian", FileOfRecipe),
    ("docs/testing-recipes.md", "[\n  { \"file\"", FileOfRecipe),
    ("docs/testing-recipes.md", "[\n  { \"file\"", FileOfRecipe),
    ("docs/testing-recipes.md", "set -eu", FileOfRecipe),
];

const CENTOS: &str = "machine('kvm_centos7', { image = require 'images.tiny' {} }):root('base')";
const SNAP: &str = "
    local root = machine('lab', { image = require 'images.tiny' {} }):root('base')
    local snap = root:branch('db', function(guest) guest:run 'start' end)";
const NODE: &str = "
    local mariadb = require 'mariadb'
    local node = machine('variants', { image = require 'images.tiny' {} }):root('base')";
const FAILING: &str = "
    machine('lab', { image = require 'images.tiny' {} }):root('base'):branch('mariadb', function(guest)
      guest:run 'fail'
    end)";

const REFUSED_CLONE: &[(&str, &str)] = &[
    ("cannot be cloned", "src/tree/clone/origin.rs"),
    ("it has the host's PCI device `0000:06:12.5`", "src/libvirt/clone/clone_xml/tests.rs"),
    ("only one domain can have that: take it out with `virsh edit ", "src/tree/clone/origin.rs"),
    (", then take another snapshot", "src/tree/clone/origin.rs"),
];

fn run(test: &Test, script: &str, status: i32) -> Ran {
    test.again().script(script).args(["run", "script.lua"]).status(status).any_stdout().any_stderr().run()
}

fn tree_of_databases(test: &Test) -> String {
    test.again().args(["tree", "kvm_debian12"]).any_stdout().run().stdout.replace(" (current)", "")
}

fn reason_of_a_changed_command(_: &Test) -> String {
    let test = Test::new();
    let script = |package: &str| {
        let base = "machine('lab', { image = require 'images.tiny' {} }):root('base')";
        format!("{base}:branch('mariadb', function(guest) guest:run 'apt-get install {package}' end)")
    };
    run(&test, &script("mariadb-server"), 0);
    run(&test, &script("mariadb-server=10.11"), 0).stderr
}

fn progress_after_a_failed_try(_: &Test) -> String {
    let test = Test::new().env("SNAPTREE_CHECKPOINT_AFTER", "0s");
    let test = test.answers(json!([{ "command": "break", "status": 1 }]));
    let script = |last: &str| {
        let base = "machine('lab', { image = require 'images.tiny' {} }):root('base')";
        let step = format!("for n = 1, 8 do guest:run('step ' .. n) end guest:run '{last}'");
        format!("{base}:branch('mariadb', function(guest) {step} end)")
    };
    run(&test, &script("break"), 1);
    run(&test, &script("mend"), 0).stderr
}

fn plan_with_every_status(_: &Test) -> String {
    let test = Test::new();
    let script = |upgrade: &str, rest: &str| {
        format!(
            "local vm = machine('kvm_debian12', {{ image = require 'images.tiny' {{}} }})
             local updated = vm:root('base'):branch('updated', function(guest)
               guest:run 'one' guest:run 'two' guest:run '{upgrade}'
             end)
             updated:branch('mariadb', function(guest) guest:run 'install' end)
             {rest}"
        )
    };
    run(&test, &script("apt-get upgrade", ""), 0);
    let more = "updated:branch('postgresql', function(guest) guest:run 'install' end) vm:start()";
    let plan = test.again().script(&script("apt-get upgrade -y", more)).args(["plan", "script.lua"]);
    plan.status(2).any_stdout().any_stderr().run().stdout
}

/// What fake guests answer in the documents.
fn answers() -> serde_json::Value {
    json!([
        { "command": "apt-cache policy *", "stdout": "Candidate: 1:10.6.1-1\n", "times": 1 },
        { "command": "apt-cache policy *", "stdout": "Candidate: 1:10.11.6-0+deb12u1\n" },
        { "command": "fail", "status": 1 },
        { "command": "tail *", "stdout": "the log\n" },
    ])
}

impl Check {
    fn run(&self, block: &Block, test: &Test) {
        let language = match self {
            ScriptAfter(_) => "lua",
            ShellAfter(_) => "sh",
            Session => "console",
            Json => "json",
            PrintedBy(_) | InSource(_) => "text",
            FileOfRecipe => return assert!(block.file.is_some(), "{block} names no file"),
        };
        assert_eq!(block.language, language, "{block}");
        match self {
            ScriptAfter(before) => drop(run(test, &format!("{before}\n{}", block.text), 0)),
            ShellAfter(before) => {
                if !before.is_empty() {
                    run(test, before, 1);
                }
                block.text.lines().for_each(|line| run_line(line, test));
            }
            Session => run_session(block, test),
            Json => assert!(serde_json::from_str::<serde_json::Value>(&block.text).is_ok(), "{block}"),
            PrintedBy(print) => assert_has(&print(test), &block.text),
            InSource(parts) => {
                for (part, file) in *parts {
                    assert_has(&block.text, part);
                    assert!(read(file).contains(part), "{file} lacks `{part}`");
                }
            }
            FileOfRecipe => unreachable!("it is looked at above"),
        }
    }
}

#[track_caller]
fn assert_has(text: &str, part: &str) {
    assert!(text.contains(part), "`{part}` is not in:\n{text}");
}

/// Runs a line for a shell: snaptree on the fake hypervisor; of make and cargo, only the target is looked up.
fn run_line(line: &str, test: &Test) {
    let command = line.split(" #").next().unwrap_or_default().trim_end();
    match command.split(' ').collect::<Vec<_>>()[..] {
        ["make", target] => assert!(targets().contains(target), "make has no target `{target}`"),
        ["cargo", "build" | "test"] => {}
        // It needs a terminal, and says so once its arguments are understood.
        ["target/debug/snaptree", "shell", ..] => {
            let ran = in_shell(command, test).any_status().run();
            assert_has(&ran.stderr, "needs a terminal");
        }
        ["target/debug/snaptree", ..] => drop(in_shell(command, test).run()),
        _ => panic!("no rule for the line `{line}`"),
    }
}

fn in_shell(command: &str, test: &Test) -> Test {
    test.again().in_shell(&command.replace("target/debug/snaptree", "\"$@\"")).any_stdout().any_stderr()
}

/// Types what follows each prompt, and compares what is printed in between. A prompt itself is only for terminals.
fn run_session(block: &Block, test: &Test) {
    let (typed, printed): (Vec<&str>, Vec<&str>) =
        block.text.lines().filter(|line| !line.starts_with("$ ")).partition(|line| prompted(line).is_some());
    let typed: String = typed.into_iter().filter_map(prompted).map(|line| format!("{line}\n")).collect();
    let printed: String = printed.into_iter().map(|line| format!("{line}\n")).collect();
    test.again().args(["repl"]).stdin(typed).stdout(&printed).any_stderr().run();
}

fn prompted(line: &str) -> Option<&str> {
    line.split_once("> ").filter(|(prompt, _)| !prompt.starts_with('<')).map(|(_, typed)| typed)
}

/// Lists the targets of the Makefile.
fn targets() -> BTreeSet<String> {
    let makefile = read("Makefile");
    let rules = makefile.lines().filter_map(|line| line.split_once(':'));
    rules.map(|(target, _)| target).filter(|it| !it.contains([' ', '\t', '.'])).map(str::to_string).collect()
}

#[test]
fn every_block_of_the_documents_is_run_or_checked() {
    let mut unused: Vec<&(&str, &str, Check)> = BLOCKS.iter().collect();
    for document in DOCUMENTS {
        let mut test = Test::new().answers(answers());
        for script in ["scripts/hello.lua", "scripts/databases.lua"] {
            test = test.file(script, read(script));
        }
        for block in blocks(document) {
            let entry = unused.iter().position(|(of, begin, _)| *of == document && block.text.starts_with(begin));
            let entry = entry.unwrap_or_else(|| panic!("{block} has no entry in BLOCKS"));
            println!("{block}");
            unused.remove(entry).2.run(&block, &test);
        }
    }
    let unused: Vec<_> = unused.into_iter().map(|(document, begin, _)| (document, begin)).collect();
    assert!(unused.is_empty(), "entries without a block: {unused:?}");
}

#[test]
fn no_document_is_left_out() {
    let docs = std::fs::read_dir(repository().join("docs")).expect("the documents");
    let docs = docs.map(|file| format!("docs/{}", file.expect("a file").file_name().to_string_lossy()));
    let known = DOCUMENTS.iter().filter(|document| document.starts_with("docs/")).map(|it| it.to_string());
    assert_eq!(docs.collect::<BTreeSet<_>>(), known.collect());
}

/// Finds the first command or option in `code` that the binary does not have.
fn unknown_in(code: &str) -> Option<String> {
    let words: Vec<&str> = code.split([' ', '\n', '=', '[', ']', ',']).collect();
    let [name, words @ ..] = words.strip_prefix(&["snaptree"])? else { return None };
    let option = |word: &&&str| word.starts_with('-') && word.len() > 1;
    let name = if option(&name) { "snaptree" } else { name };
    let help = |name: &str| std::fs::read_to_string(repository().join(format!("tests/golden/help/{name}.txt")));
    let Ok(mut text) = help(name) else { return Some(format!("the command `{name}`")) };
    if let Some(below) = words.first().and_then(|word| help(&format!("{name}-{word}")).ok()) {
        text = below;
    }
    // What follows `--` is a command of the guest.
    let mut options = words.iter().take_while(|word| **word != "--").filter(option);
    let is_known = |option: &&&str| text.split([' ', '\n', ',', '=']).any(|word| word == **option);
    options.find(|option| !is_known(option)).map(|option| format!("the option `{option}`"))
}

#[test]
fn every_command_in_the_text_of_the_documents_exists() {
    assert_eq!(unknown_in("snaptree tree --format json"), None);
    assert_eq!(unknown_in("snaptree images list --json"), None);
    assert_eq!(unknown_in("snaptree tree --formal"), Some("the option `--formal`".to_string()));
    assert_eq!(unknown_in("snaptree wood"), Some("the command `wood`".to_string()));
    let targets = targets();
    let mut wrong = Vec::new();
    for document in DOCUMENTS.into_iter().chain(["DESIGN.md"]) {
        let text = read(document);
        // A reason that `gc` prints begins like a command.
        for code in inline_code(&text).into_iter().filter(|code| *code != "snaptree did not make it") {
            let unknown = code.split('|').filter_map(|part| unknown_in(part.trim()));
            wrong.extend(unknown.map(|what| format!("{document}: `{code}`: {what} is not there")));
            for target in code.strip_prefix("make ").unwrap_or_default().split_whitespace() {
                if !targets.contains(target) {
                    wrong.push(format!("{document}: `{code}`: make has no target `{target}`"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
