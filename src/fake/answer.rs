//! What a scripted guest answers to a command.

use serde::{Deserialize, Serialize};

use crate::hypervisor::{Command, CommandLine};

/// An answer in the state's `answers`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// The command's exact text, or a pattern in which `*` stands for any text.
    pub command: String,
    #[serde(default)]
    pub status: i32,
    #[serde(default)]
    pub stdout: String,
    #[serde(default)]
    pub stderr: String,
    #[serde(default)]
    pub delay_ms: u64,
}

/// The text by which a command is matched and logged: a shell line itself, or the words of an argv.
pub(super) fn text_of(command: &Command) -> String {
    match &command.line {
        CommandLine::Shell(line) => line.clone(),
        CommandLine::Argv(words) => words.join(" "),
    }
}

/// Finds the first answer for a command.
pub(super) fn find<'a>(answers: &'a [Answer], text: &str) -> Option<&'a Answer> {
    answers.iter().find(|answer| matches(&answer.command, text))
}

/// Matches `text` with a pattern in which only `*` is special.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*') {
        // The leftmost place leaves the most text for the parts that follow.
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(tail)
}

/// Splits a command into words where that takes no shell.
pub(super) fn plain_words(command: &Command) -> Option<Vec<&str>> {
    match &command.line {
        CommandLine::Argv(words) => Some(words.iter().map(String::as_str).collect()),
        CommandLine::Shell(line) if line.contains(|letter| "|&;<>()$`\\\"'*?[]#~=%\n".contains(letter)) => None,
        CommandLine::Shell(line) => Some(line.split_whitespace().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say() {
        let cases = [
            ("apt-get update", "apt-get update", true),
            ("apt-get update", "apt-get update -q", false),
            ("apt-get *", "apt-get update", true),
            ("apt-get *", "apt-get", false),
            ("*", "", true),
            ("*", "anything\nat all", true),
            ("* install *", "apt-get install mariadb", true),
            ("* install *", "apt-get install", false),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("ab*ba", "aba", false),
            ("a**c", "abc", true),
            ("*ab", "aab", true),
            ("[x]?", "[x]?", true),
            ("é*ü", "éöü", true),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern, text), expected, "`{pattern}` and `{text}`");
        }
    }

    #[test]
    fn the_first_answer_wins() {
        let answer = |command: &str, status| Answer { command: command.into(), status, ..Answer::default() };
        let answers = [answer("a b", 1), answer("a *", 2)];
        assert_eq!(find(&answers, "a b").map(|answer| answer.status), Some(1));
        assert_eq!(find(&answers, "a c").map(|answer| answer.status), Some(2));
        assert_eq!(find(&answers, "b"), None);
    }
}
