//! The log of a snapshot as text.

use std::time::Duration;

use super::words::{one_line, seconds, size, tame, time};
use crate::count::counted;
use crate::tree::{FailedLog, Log, LoggedOperation, Outcome};

/// The maximum number of lines shown of a command's output, unless all is asked for.
const LINES: usize = 20;

/// Writes the inputs and the operations, each with its result indented below it, in full if `all` is set. The log of a
/// failed step comes after them.
pub fn text(log: &Log, all: bool) -> String {
    let input = |(name, value)| one_line(&format!("input {name:?}: {value}"));
    let mut lines: Vec<String> = log.inputs.iter().map(input).collect();
    operations(&log.operations, all, &mut lines);
    if let Some(failed) = &log.failed {
        failure(failed, all, &mut lines);
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn operations(operations: &[LoggedOperation], all: bool, lines: &mut Vec<String>) {
    for operation in operations {
        lines.push(heading(operation.number, &operation.operation, operation.took));
        outcome(operation, all, lines);
    }
}

fn heading(number: usize, operation: &str, took: u64) -> String {
    format!("{number}: {}: {}", one_line(operation), seconds(Duration::from_millis(took)))
}

fn failure(failed: &FailedLog, all: bool, lines: &mut Vec<String>) {
    let mut error = failed.error.lines();
    let what = tame(error.next().unwrap_or_default());
    lines.push(format!("failed at {} on `{}`: {what}", time(failed.when), failed.parent));
    operations(&failed.operations, all, lines);
    let Some(operation) = &failed.operation else { return };
    lines.push(format!("{}, failed", heading(operation.number, &operation.operation, operation.took)));
    lines.extend(operation.status.map(|status| format!("    status {status}")));
    output("| ", &operation.stdout.0, all, lines);
    output("! ", &operation.stderr.0, all, lines);
}

fn outcome(operation: &LoggedOperation, all: bool, lines: &mut Vec<String>) {
    match &operation.outcome {
        Outcome::Done => {}
        Outcome::Exit { status, stdout, stderr } => {
            lines.push(format!("    status {status}"));
            output("| ", &stdout.0, all, lines);
            output("! ", &stderr.0, all, lines);
        }
        Outcome::Content(content) => output("| ", &content.0, all, lines),
        Outcome::Matched(captures) => {
            captures.iter().flatten().for_each(|capture| output("| ", capture.as_bytes(), all, lines));
        }
        Outcome::Directory(archive) => lines.push(format!("    an archive of {}", size(archive.0.len() as u64))),
        Outcome::Pushed(marks) => {
            let names: Vec<&str> = marks.keys().map(String::as_str).collect();
            output("> ", names.join("\n").as_bytes(), all, lines);
        }
        Outcome::Clock(clock) => lines.push(format!("    {clock}")),
        Outcome::Facts(facts) => lines.extend(facts.iter().map(|(name, value)| format!("    {name}: {value}"))),
        Outcome::Unrecorded { size: bytes, .. } => lines.push(format!("    {} that are not recorded", size(*bytes))),
    }
}

/// Writes the last lines of an output, each with `mark` before it.
fn output(mark: &str, bytes: &[u8], all: bool, lines: &mut Vec<String>) {
    let text = String::from_utf8_lossy(bytes);
    let printed: Vec<&str> = text.lines().collect();
    let hidden = if all { 0 } else { printed.len().saturating_sub(LINES) };
    if hidden > 0 {
        lines.push(format!("    ... {} before; --verbose shows all", counted(hidden, "line", "lines")));
    }
    for line in &printed[hidden..] {
        let line = if all { tame(line) } else { one_line(line) };
        lines.push(format!("    {mark}{line}").trim_end().to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a log as the engine would, from JSON, since the type of its bytes is private to the engine.
    fn log(outcomes: serde_json::Value) -> Log {
        let operation = |(n, outcome): (usize, &serde_json::Value)| LoggedOperation {
            number: n + 1,
            operation: "run \"x\"".into(),
            took: 1500,
            outcome: serde_json::from_value(outcome.clone()).unwrap(),
        };
        let operations = outcomes.as_array().unwrap().iter().enumerate().map(operation).collect();
        let inputs = [("schema".to_string(), "3".into())].into();
        Log { machine: "db".into(), name: "sn02".into(), inputs, operations, failed: None }
    }

    #[test]
    fn an_operation_has_its_outcome_below_it() {
        let log = log(serde_json::json!([
            "done",
            // "one\n\x1btwo\n" and "err".
            { "exit": { "status": 3, "stdout": "b25lCht0d28K", "stderr": "ZXJy" } },
            { "clock": 12.5 },
            { "facts": { "id": "debian" } },
            { "unrecorded": { "size": 2048 } },
        ]));
        let expected = "\
input \"schema\": \"3\"
1: run \"x\": 1.5 s
2: run \"x\": 1.5 s
    status 3
    | one
    |  two
    ! err
3: run \"x\": 1.5 s
    12.5
4: run \"x\": 1.5 s
    id: debian
5: run \"x\": 1.5 s
    2.0 KiB that are not recorded
";
        assert_eq!(text(&log, false), expected);
        assert_eq!(text(&log, true), expected);
    }

    #[test]
    fn of_a_long_output_the_end_is_shown() {
        let content = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, "a\n".repeat(LINES + 2));
        let log = log(serde_json::json!([{ "content": content }]));
        let short = text(&log, false);
        assert_eq!(short.lines().nth(2), Some("    ... 2 lines before; --verbose shows all"));
        assert_eq!(short.lines().count(), 3 + LINES);
        assert_eq!(text(&log, true).lines().count(), 2 + LINES + 2);
    }
}
