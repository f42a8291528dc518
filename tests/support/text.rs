//! Text that a test writes down, and text that differs from run to run.

use std::path::Path;

/// Drops an empty first line and, then, the indentation that all lines have in common.
pub fn unindent(text: &str) -> String {
    let Some(text) = text.strip_prefix('\n') else { return text.to_string() };
    let blank = |line: &str| line.trim().is_empty();
    let margin = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let common = text.lines().filter(|line| !blank(line)).map(margin).min().unwrap_or(0);
    let mut lines: Vec<&str> = text.split('\n').map(|line| line.get(common..).unwrap_or("")).collect();
    // The line of the closing quote is not part of the text.
    if text.rsplit('\n').next().is_some_and(blank)
        && let Some(last) = lines.last_mut()
    {
        *last = "";
    }
    lines.join("\n")
}

/// Replaces what no two runs have in common.
pub fn normalise(text: &str, directory: &Path) -> String {
    // A path may have been resolved on its way through the binary.
    let resolved = directory.canonicalize().unwrap_or_else(|_| directory.to_path_buf());
    let mut text = text.to_string();
    for directory in [&*resolved, directory] {
        text = text.replace(&directory.display().to_string(), "[DIR]");
    }
    replace_durations(&text)
}

/// Replaces durations as `ui` prints them, such as `350 ms`, `1.2 s` and `3 min 20 s`, by `[TIME]`.
fn replace_durations(text: &str) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let begins_word = !replaced.ends_with(|it: char| it.is_alphanumeric() || "._-/".contains(it));
        match duration(rest).filter(|_| begins_word) {
            Some(length) => {
                replaced.push_str("[TIME]");
                rest = &rest[length..];
            }
            None => {
                replaced.push(letter);
                rest = &rest[letter.len_utf8()..];
            }
        }
    }
    replaced
}

/// Returns the length of the duration that `text` begins with.
fn duration(text: &str) -> Option<usize> {
    let number = text.len() - text.trim_start_matches(|it: char| it.is_ascii_digit() || it == '.').len();
    if number == 0 || text.starts_with('.') {
        return None;
    }
    let after = text[number..].strip_prefix(' ')?;
    let unit = ["ms", "min", "s", "h"].into_iter().find(|unit| {
        after.strip_prefix(unit).is_some_and(|after| !after.starts_with(|it: char| it.is_alphanumeric() || it == '_'))
    })?;
    let length = number + 1 + unit.len();
    let next = text[length..].strip_prefix(' ').and_then(duration);
    Some(next.map_or(length, |next| length + 1 + next))
}

#[test]
fn text_loses_its_common_indentation() {
    assert_eq!(unindent("\n    a\n      b\n\n    c\n    "), "a\n  b\n\nc\n");
    assert_eq!(unindent("\n  a"), "a");
    assert_eq!(unindent("  a\n"), "  a\n");
    assert_eq!(unindent(""), "");
}

#[test]
fn durations_and_the_directory_are_replaced() {
    for (text, expected) in [
        ("built in 1.2 s.", "built in [TIME]."),
        ("350 ms", "[TIME]"),
        ("3 min 20 s, 4 s", "[TIME], [TIME]"),
        ("1 h", "[TIME]"),
        ("timed out after 10m", "timed out after 10m"),
        ("sn01 sleeps, 2 snapshots, v1.2 s", "sn01 sleeps, 2 snapshots, v1.2 s"),
        ("/x/y/z", "[DIR]/z"),
        ("é 5 s ü", "é [TIME] ü"),
    ] {
        assert_eq!(normalise(text, Path::new("/x/y")), expected);
    }
}

/// Makes text of bytes that are some, while compiling.
pub const fn sector(bytes: &'static [u8; 512]) -> &'static str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("no text"),
    }
}
