//! What a scripted guest answers to a command.

use serde::{Deserialize, Serialize};

use crate::hypervisor::{Command, CommandLine};

/// An answer in the state's `answers`: to a command, a file that the image has, or what the console prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Answer {
    Command(Scripted),
    File {
        path: String,
        content: String,
    },
    /// Printed on the serial console: when it is opened, or in place of a command when this line was typed.
    Console {
        prints: String,
        after: Option<String>,
    },
}

/// What a command answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scripted {
    /// The command's exact text, or a pattern in which `*` stands for any text.
    pub command: String,
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    pub delay_ms: u64,
    /// How many of the commands it answers, from the first one on; all of them if this is not set.
    pub times: Option<usize>,
}

/// An answer as it is written in JSON.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    console: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<usize>,
}

impl TryFrom<Written> for Answer {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        match written {
            Written {
                console: Some(prints),
                after,
                ref command,
                ref file,
                ref content,
                status,
                ref stdout,
                ref stderr,
                delay_ms,
                times,
            } if [command, file, content, stdout, stderr].iter().all(|it| it.is_none())
                && status.is_none()
                && delay_ms.is_none()
                && times.is_none() =>
            {
                Ok(Self::Console { prints, after })
            }
            Written {
                command: Some(command),
                file: None,
                content: None,
                console: None,
                after: None,
                status,
                stdout,
                stderr,
                delay_ms,
                times,
            } => Ok(Self::Command(Scripted {
                command,
                status: status.unwrap_or_default(),
                stdout: stdout.unwrap_or_default(),
                stderr: stderr.unwrap_or_default(),
                delay_ms: delay_ms.unwrap_or_default(),
                times,
            })),
            Written {
                command: None,
                file: Some(path),
                content: Some(content),
                console: None,
                after: None,
                status: None,
                stdout: None,
                stderr: None,
                delay_ms: None,
                times: None,
            } => Ok(Self::File { path, content }),
            _ => Err(
                "an answer has `command`, and perhaps `status`, `stdout`, `stderr`, `delay_ms` and `times`; or `file` \
                      and `content`; or `console`, and perhaps `after`",
            ),
        }
    }
}

impl From<Answer> for Written {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Command(Scripted { command, status, stdout, stderr, delay_ms, times }) => Self {
                command: Some(command),
                status: Some(status),
                stdout: Some(stdout),
                stderr: Some(stderr),
                delay_ms: Some(delay_ms),
                times,
                ..Self::default()
            },
            Answer::Console { prints, after } => Self { console: Some(prints), after, ..Self::default() },
            Answer::File { path, content } => Self { file: Some(path), content: Some(content), ..Self::default() },
        }
    }
}

/// The text by which a command is matched and logged: a shell line itself, or the words of an argv.
pub fn text_of(command: &Command) -> String {
    match &command.line {
        CommandLine::Shell(line) => line.clone(),
        CommandLine::Argv(words) => words.join(" "),
    }
}

/// Finds the first answer for a command that is run for the `nth` time.
pub fn find<'a>(answers: &'a [Answer], text: &str, nth: usize) -> Option<&'a Scripted> {
    let is_due = |reply: &Scripted| reply.times.is_none_or(|times| nth <= times);
    answers.iter().find_map(|answer| match answer {
        Answer::Command(reply) if matches(&reply.command, text) && is_due(reply) => Some(reply),
        _ => None,
    })
}

/// Finds what a file of the image holds.
pub fn find_file<'a>(answers: &'a [Answer], path: &str) -> Option<&'a str> {
    answers.iter().find_map(|answer| match answer {
        Answer::File { path: of, content } if of == path => Some(content.as_str()),
        _ => None,
    })
}

/// Finds what the console prints when it is opened, or after a line that was typed.
pub fn on_console(answers: &[Answer], typed: Option<&str>) -> Option<String> {
    answers.iter().find_map(|answer| match (answer, typed) {
        (Answer::Console { prints, after: None }, None) => Some(prints.clone()),
        (Answer::Console { prints, after: Some(line) }, Some(typed)) if matches(line, typed) => Some(prints.clone()),
        _ => None,
    })
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

/// Says whether a command ends without having read its input; an unknown one reads all of it.
pub fn ignores_input(command: &Command) -> bool {
    match plain_words(command).as_deref() {
        Some(["cat", rest @ ..]) => !rest.is_empty(),
        Some([name, ..]) => ["true", "false", "test", "echo", "sleep"].contains(name),
        _ => false,
    }
}

/// Splits a command into words if that needs no shell.
pub fn plain_words(command: &Command) -> Option<Vec<&str>> {
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
        let answer = |command: &str, status| {
            Answer::Command(Scripted { command: command.into(), status, ..Scripted::default() })
        };
        let answers = [answer("a b", 1), answer("a *", 2)];
        assert_eq!(find(&answers, "a b", 1).map(|answer| answer.status), Some(1));
        assert_eq!(find(&answers, "a c", 1).map(|answer| answer.status), Some(2));
        assert_eq!(find(&answers, "b", 1), None);
        let once = Scripted { command: "a".into(), status: 1, times: Some(1), ..Scripted::default() };
        let once = [Answer::Command(once), answer("a", 0)];
        assert_eq!([1, 2].map(|nth| find(&once, "a", nth).map(|answer| answer.status)), [Some(1), Some(0)]);
    }

    #[test]
    fn an_answer_is_to_a_command_or_is_a_file() {
        let read = |text: &str| serde_json::from_str::<Answer>(text).map_err(|error| error.to_string());
        let file = r#"{"file":"/etc/x","content":"y"}"#;
        assert_eq!(serde_json::to_string(&read(file).unwrap()).unwrap(), file);
        let reply = Scripted { command: "a *".into(), status: 3, ..Scripted::default() };
        assert_eq!(read(r#"{ "command": "a *", "status": 3 }"#), Ok(Answer::Command(reply)));
        let login = r#"{"console":"login: ","after":"*"}"#;
        assert_eq!(serde_json::to_string(&read(login).unwrap()).unwrap(), login);
        for wrong in [
            r#"{ "status": 1 }"#,
            r#"{ "console": "a", "status": 1 }"#,
            r#"{ "after": "a" }"#,
            r#"{ "file": "/x" }"#,
            r#"{ "command": "a", "file": "/x", "content": "" }"#,
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.starts_with("an answer has `command`, and perhaps"), "{wrong}: {error}");
        }
        assert!(read(r#"{ "comand": "a" }"#).unwrap_err().starts_with("unknown field `comand`"));
    }
}
