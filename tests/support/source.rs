//! Just enough of Rust's grammar to see what a source file names.

use std::collections::BTreeSet;

/// Returns the code of a source file with comments and the contents of literals left out.
pub fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else {
            literal(rest, &code)
        };
        if skipped == 0 {
            code.push(letter);
            rest = &rest[letter.len_utf8()..];
        } else {
            code.push(' ');
            rest = &rest[skipped..];
        }
    }
    code
}

/// Returns the length of the block comment that `text` begins with.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// Returns the length of the string or character that `text` begins with, or 0.
fn literal(text: &str, before: &str) -> usize {
    if text.starts_with('"') {
        return quoted(text, '"');
    }
    if let Some(inner) = text.strip_prefix('r')
        && !before.ends_with(is_part_of_word_except_b)
    {
        let hashes = inner.len() - inner.trim_start_matches('#').len();
        if inner[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = 1 + hashes + 1;
            return text[start..].find(&end).map_or(text.len(), |length| start + length + end.len());
        }
    }
    // A lifetime has a quote before its name and none after it.
    let mut letters = text.chars();
    if letters.next() == Some('\'') && (letters.next() == Some('\\') || letters.next() == Some('\'')) {
        return quoted(text, '\'');
    }
    0
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if letter == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn is_part_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn is_part_of_word_except_b(letter: char) -> bool {
    is_part_of_word(letter) && letter != 'b'
}

/// Says whether `code` names `word`.
pub fn has_word(code: &str, word: &str) -> bool {
    words(code, word).next().is_some()
}

/// Says whether `code` calls a function or a macro of this name, as opposed to a method.
pub fn calls(code: &str, call: &str) -> bool {
    words(code, call).any(|at| {
        let before = code[..at].trim_end();
        !before.ends_with('.') && !before.ends_with("fn")
    })
}

/// Finds where `word` is in `code`, as a word of its own.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let ends = word.ends_with(is_part_of_word) && code[at + word.len()..].starts_with(is_part_of_word);
        !ends && !code[..*at].ends_with(is_part_of_word)
    })
}

/// Lists what the code of a module names of this crate, as paths from the crate's root.
pub fn paths_used(code: &str, module: &[String]) -> BTreeSet<Vec<String>> {
    let mut paths = BTreeSet::new();
    for (word, up) in [("crate", module.len()), ("super", 1), ("self", 0)] {
        for at in words(code, word) {
            let before = code[..at].trim_end();
            let Some(path) = code[at + word.len()..].trim_start().strip_prefix("::") else { continue };
            // A part of another path, or of a visibility.
            if before.ends_with("::") || before.ends_with("(in") {
                continue;
            }
            let (mut path, mut up) = (path.trim_start(), up);
            while let Some(above) = path.strip_prefix("super").and_then(|path| path.trim_start().strip_prefix("::")) {
                (path, up) = (above.trim_start(), up + 1);
            }
            add_paths(path, &module[..module.len().saturating_sub(up)], &mut paths);
        }
    }
    paths
}

/// Adds the paths that `text` begins with, a single one or a group. Returns what comes after them.
fn add_paths<'a>(text: &'a str, above: &[String], paths: &mut BTreeSet<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = add_paths(rest, above, paths).trim_start();
            // What is renamed keeps its path.
            rest = rest.find([',', '}']).map_or("", |end| &rest[end..]);
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let length = text.find(|it| !is_part_of_word(it)).unwrap_or(text.len());
    let (word, rest) = text.split_at(length);
    if word.is_empty() {
        return rest;
    }
    let path = [above, &[word.to_string()]].concat();
    match rest.trim_start().strip_prefix("::") {
        Some(below) if below.trim_start().starts_with(|it| is_part_of_word(it) || it == '{') => {
            add_paths(below, &path, paths)
        }
        _ => {
            paths.insert(path);
            rest
        }
    }
}
