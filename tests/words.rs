//! Words that are no English of the field: what a translation leaves in the source, its comments and the documents.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::repository;

/// Each is looked for as whole words, in any case.
const WORDS: [&str; 16] = [
    "somebody",
    "nobody",
    "whoever",
    "wherever",
    "goes on",
    "go on",
    "went on",
    "gone on",
    "going on",
    "anew",
    "stands on",
    "stood on",
    "standing on",
    "check-point",
    "foothold",
    "whilst",
];

/// What a line with such a word may have, and why.
const EXCEPTIONS: [(&str, &str); 8] = [
    ("\"nobody", "the system's user"),
    ("nobody nogroup", "the system's user"),
    ("nobody\\n", "the system's user"),
    ("nobody:x:", "the system's user"),
    ("as nobody in", "the system's user"),
    ("parent nobody", "a name that a test gives"),
    ("`nobody`", "a name that a test gives"),
    ("NOBODY", "the system's user"),
];

fn look(directory: &Path, texts: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("cannot list a directory").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() && !matches!(&*name, "target" | ".git" | "golden") {
            look(&path, texts);
        } else if name != "words.rs" && is_text(&name) {
            texts.push(path);
        }
    }
}

fn is_text(name: &str) -> bool {
    name == "Makefile" || [".rs", ".lua", ".md", ".sh", ".c", ".toml"].iter().any(|ending| name.ends_with(ending))
}

/// Finds a word of the list in a line, unless an exception is there too.
fn translated(line: &str) -> Option<&'static str> {
    let lower = line.to_lowercase();
    let is_whole = |at: usize, word: &str| {
        let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !part(lower[..at].chars().next_back()) && !part(lower[at + word.len()..].chars().next())
    };
    let found = WORDS.iter().find(|word| lower.match_indices(**word).any(|(at, _)| is_whole(at, word)))?;
    (!EXCEPTIONS.iter().any(|(exception, _)| line.contains(exception))).then_some(found)
}

#[test]
fn no_word_is_one_that_only_a_translation_brings() {
    let mut files = Vec::new();
    look(&repository(), &mut files);
    assert!(files.len() > 100, "the source is not where it was");
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("cannot read a file");
        let lines = text.lines().zip(1..);
        found.extend(lines.filter_map(|(line, n)| Some(format!("{}:{n}: {}", file.display(), translated(line)?))));
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn words_are_found_whole_and_exceptions_let_through() {
    assert_eq!(translated("It goes on, whoever asks."), Some("whoever"));
    assert_eq!(translated("Anew."), Some("anew"));
    assert_eq!(translated("a canewood, some bodies, goes once"), None);
    assert_eq!(translated("let user = \"nobody\";"), None);
}
