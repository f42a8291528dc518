//! The help of every command, compared with the files in `tests/golden/help`.
//!
//! `SNAPTREE_GOLDEN=write cargo test help::` writes the files; look at what changed before you commit it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::support::{Test, repository};

fn golden() -> PathBuf {
    repository().join("tests/golden/help")
}

/// Returns what the binary prints on stdout for these arguments.
fn printed(args: &[&str]) -> String {
    Test::new().no_connect().args(args).any_stdout().run().stdout
}

/// Lists the commands that the help of the program or of a command names.
fn commands_in(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // The text of a command may be wrapped onto a line that is indented further.
    let names = lines.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    names.filter_map(|line| line.split(' ').next()).collect()
}

/// Adds the help of `command` and of the commands below it.
fn add_help(command: &[&str], all: &mut BTreeMap<String, String>) {
    let help = printed(&[command, &["--help"]].concat());
    for name in commands_in(&help) {
        add_help(&[command, &[name]].concat(), all);
    }
    let file = if command.is_empty() { "snaptree".to_string() } else { command.join("-") };
    all.insert(format!("{file}.txt"), help);
}

#[test]
fn the_help_of_every_command_is_a_file() {
    let mut all = BTreeMap::from([("snaptree-short.txt".to_string(), printed(&["-h"]))]);
    add_help(&[], &mut all);
    assert!(all.len() > 20, "the commands are not found: {:?}", all.keys());
    if std::env::var_os("SNAPTREE_GOLDEN").is_some_and(|asked| asked == "write") {
        // What is no command any more goes.
        std::fs::remove_dir_all(golden()).ok();
        std::fs::create_dir_all(golden()).expect("a directory for the files");
        all.iter().for_each(|(name, help)| std::fs::write(golden().join(name), help).expect("a file"));
    }
    let files = std::fs::read_dir(golden()).expect("the files");
    let files: BTreeSet<String> =
        files.map(|file| file.expect("a file").file_name().into_string().expect("a name")).collect();
    let hint = "\nhint: run `SNAPTREE_GOLDEN=write cargo test help::` and look at what changed";
    assert_eq!(files, all.keys().cloned().collect(), "there are files of other commands{hint}");
    for (name, help) in &all {
        let file = std::fs::read_to_string(golden().join(name)).expect("a file");
        assert!(file == *help, "tests/golden/help/{name} is not what the command prints:\n{help}{hint}");
    }
}
