//! Lua's tokens, as far as the line editor needs them: for colours, for completion, and to find locals.

use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Keyword,
    Name,
    /// With its quotes; an unclosed one ends with the text.
    Text,
    Number,
    Comment,
    /// One symbol.
    Sign,
}

/// A token and its place; between two tokens is only space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: Kind,
    pub at: Range<usize>,
}

pub const KEYWORDS: [&str; 22] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local", "nil",
    "not", "or", "repeat", "return", "then", "true", "until", "while",
];

/// Splits a text into tokens; never fails.
pub fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let (kind, length) = if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        } else if let Some(comment) = rest.strip_prefix("--") {
            let length = long_bracket(comment).unwrap_or_else(|| comment.find(['\n', '\r']).unwrap_or(comment.len()));
            (Kind::Comment, 2 + length)
        } else if let Some(length) = long_bracket(rest) {
            (Kind::Text, length)
        } else if first == '"' || first == '\'' {
            (Kind::Text, quoted(rest, first))
        } else if first.is_ascii_digit() {
            (Kind::Number, run_of(rest, |c| c.is_ascii_alphanumeric() || c == '.'))
        } else if first.is_ascii_alphabetic() || first == '_' {
            let length = run_of(rest, |c| c.is_ascii_alphanumeric() || c == '_');
            let is_keyword = KEYWORDS.contains(&&rest[..length]);
            (if is_keyword { Kind::Keyword } else { Kind::Name }, length)
        } else {
            (Kind::Sign, first.len_utf8())
        };
        tokens.push(Token { kind, at: at..at + length });
        at += length;
    }
    tokens
}

fn run_of(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// Returns the length of a quoted string; an unclosed one ends at the end of its line.
fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '\n' | '\r' => return at,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Returns the length of the `[[...]]` or `[==[...]==]` that begins here, if any.
fn long_bracket(text: &str) -> Option<usize> {
    let level = text.strip_prefix('[')?.find(|c| c != '=')?;
    if !text[1 + level..].starts_with('[') {
        return None;
    }
    let end = format!("]{}]", "=".repeat(level));
    Some(text.find(&end).map_or(text.len(), |at| at + end.len()))
}

/// Says whether a text ends in an unclosed quoted string.
pub fn has_open_quote(text: &str) -> bool {
    let last = tokens(text).pop().filter(|token| token.kind == Kind::Text);
    last.is_some_and(|token| {
        let word = &text[token.at];
        let quote = word.chars().next().filter(|quote| *quote != '[');
        quote.is_some_and(|quote| quoted(&format!("{word}{quote}"), quote) > word.len())
    })
}

/// Turns the top-level locals of a text into globals of its environment, so that the next typed line finds them. Line
/// numbers stay the same.
pub fn without_locals(text: &str) -> String {
    let tokens = tokens(text);
    let word = |n: usize| tokens.get(n).map_or("", |token: &Token| &text[token.at.clone()]);
    let mut result = text.to_string();
    let mut depth = 0;
    let mut changes = Vec::new();
    for (n, token) in tokens.iter().enumerate() {
        match (token.kind, word(n)) {
            (Kind::Keyword, "function" | "do" | "then" | "repeat") => depth += 1,
            (Kind::Keyword, "end" | "until") => depth -= 1,
            // An `elseif` has a `then` of its own, but no further `end`.
            (Kind::Keyword, "elseif") => depth -= 1,
            (Kind::Sign, "(" | "{" | "[") => depth += 1,
            (Kind::Sign, ")" | "}" | "]") => depth -= 1,
            (Kind::Keyword, "local") if depth == 0 => changes.extend(change_of_local(&tokens, n, &word)),
            _ => {}
        }
    }
    for (at, new) in changes.into_iter().rev() {
        result.replace_range(at, &new);
    }
    result
}

/// Returns the replacements for the `local` at a place; none if it must stay.
fn change_of_local<'a>(
    tokens: &[Token],
    local: usize,
    word: &impl Fn(usize) -> &'a str,
) -> Vec<(Range<usize>, String)> {
    let gone = (tokens[local].at.clone(), " ".repeat("local".len()));
    if word(local + 1) == "function" {
        return vec![gone];
    }
    let mut last = local + 1;
    while word(last + 1) == "," && tokens.get(last + 2).is_some_and(|token| token.kind == Kind::Name) {
        last += 2;
    }
    match (tokens.get(last), word(last + 1)) {
        (Some(_), "=") => vec![gone],
        // <const> and <close> have a meaning only for locals.
        (_, "<") => Vec::new(),
        (Some(name), _) if name.kind == Kind::Name => vec![gone, (name.at.end..name.at.end, " = nil".to_string())],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<(&str, Kind)> {
        tokens(text).into_iter().map(|token| (&text[token.at], token.kind)).collect()
    }

    #[test]
    fn a_text_is_taken_apart() {
        assert_eq!(
            words("local x = f'é\\'' -- why\n[=[a]]b]=] 0x1F データ"),
            [
                ("local", Kind::Keyword),
                ("x", Kind::Name),
                ("=", Kind::Sign),
                ("f", Kind::Name),
                ("'é\\''", Kind::Text),
                ("-- why", Kind::Comment),
                ("[=[a]]b]=]", Kind::Text),
                ("0x1F", Kind::Number),
                ("デ", Kind::Sign),
                ("ー", Kind::Sign),
                ("タ", Kind::Sign),
            ]
        );
        assert_eq!(
            words("--[[ a\nb ]] x \"open"),
            [("--[[ a\nb ]]", Kind::Comment), ("x", Kind::Name), ("\"open", Kind::Text)]
        );
    }

    #[test]
    fn what_is_local_to_a_whole_text_is_kept() {
        for (text, kept) in [
            ("local a, b = 1, 2", "      a, b = 1, 2"),
            ("local function f() local x = 1 end", "      function f() local x = 1 end"),
            ("local a", "      a = nil"),
            ("local a <const> = 1", "local a <const> = 1"),
            (
                "if a then local b = 1 elseif c then local d = 2 else local e = 3 end local f = 4",
                "if a then local b = 1 elseif c then local d = 2 else local e = 3 end       f = 4",
            ),
            (
                "for i = 1, 2 do local x = i end\nlocal y = 'local z = 1'",
                "for i = 1, 2 do local x = i end\n      y = 'local z = 1'",
            ),
            (
                "repeat local x = f() until x\nlocal t = { function() local u = 1 end }",
                "repeat local x = f() until x\n      t = { function() local u = 1 end }",
            ),
            ("while a do local b = 1 end local c = 2", "while a do local b = 1 end       c = 2"),
        ] {
            assert_eq!(without_locals(text), kept);
        }
    }
}
