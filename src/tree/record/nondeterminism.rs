//! Finds operations that would probably differ in every run, because of a time stamp or a random value in them.

use crate::tree::record::journal::JournalEntry;
use crate::tree::record::operation::{Content, Operation, Payload, RESULT_LIMIT, Request};

/// Returns whether an operation differs from the recorded one only in values that look random.
pub fn differ_by_chance(was: &JournalEntry, now: &Request) -> bool {
    let (old, new) = (content(&was.operation), content(&now.operation));
    let (was_said, said) = (without_content(&was.operation), without_content(&now.operation));
    let is_same_content = old == new || was.shape.is_some() && was.shape == shape_of(&now.payload);
    is_same_content && (old != new || was_said != said) && shape(&was_said) == shape(&said)
}

/// Returns the digest of what goes into a guest, with each random-looking word replaced; none if there is no such word.
pub fn shape_of(payload: &Payload) -> Option<String> {
    let Payload::Bytes(bytes) = payload else { return None };
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= RESULT_LIMIT)?;
    let shape = shape(text);
    (shape != text).then(|| Content::of(shape.as_bytes()).digest)
}

fn content(operation: &Operation) -> Option<&Content> {
    match operation {
        Operation::Run { stdin, .. } => stdin.as_ref(),
        Operation::Write { content, .. } => Some(content),
        Operation::Push { tree, .. } | Operation::SyncDir { tree, .. } => Some(tree),
        _ => None,
    }
}

/// Writes an operation without the digest of its content, which differs for any other content.
fn without_content(operation: &Operation) -> String {
    let mut operation = operation.clone();
    match &mut operation {
        Operation::Run { stdin, .. } => *stdin = None,
        Operation::Write { content, .. }
        | Operation::Push { tree: content, .. }
        | Operation::SyncDir { tree: content, .. } => *content = Content { digest: String::new(), size: 0 },
        _ => {}
    }
    operation.to_string()
}

/// Replaces each random-looking word with the kind of value that it looks like.
fn shape(text: &str) -> String {
    // These characters can continue a number, a date or a digest; any other one ends it.
    let is_part = |c: char| c.is_alphanumeric() || "-:.".contains(c);
    let mut shape = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
        match kind(word) {
            Some(kind) => shape.push_str(&format!("<{kind:?}>")),
            None => shape.push_str(word),
        }
        let (between, next) = after.split_at(after.find(is_part).unwrap_or(after.len()));
        shape.push_str(between);
        rest = next;
    }
    shape
}

#[derive(Debug, PartialEq, Eq)]
enum Chance {
    /// Seconds, milli-, micro- or nanoseconds since the epoch, of this century.
    Clock,
    Date,
    Time,
    Uuid,
    /// Digits and letters as `openssl rand`, `mktemp` or a digest of a clock make them.
    Random,
}

fn kind(word: &str) -> Option<Chance> {
    let word = word.trim_matches(['.', ':', '-']);
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let shape: String = word.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let whole = word.split('.').next().unwrap_or_default();
    if is_digits(&word.replace('.', "")) && matches!(whole.len(), 10 | 13 | 16 | 19) && whole.starts_with(['1', '2']) {
        return Some(Chance::Clock);
    }
    if shape.starts_with("0000-00-00") || (word.len() == 14 && is_digits(word) && word.starts_with("20")) {
        return Some(Chance::Date);
    }
    if matches!(shape.as_str(), "00:00:00" | "00:00") || shape.starts_with("00:00:00.") {
        return Some(Chance::Time);
    }
    let is_hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    let groups: Vec<usize> = word.split('-').map(str::len).collect();
    if groups == [8, 4, 4, 4, 12] && is_hex(&word.replace('-', "")) {
        return Some(Chance::Uuid);
    }
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let letters = word.bytes().filter(u8::is_ascii_alphabetic).count();
    let is_mixed = digits >= 2 && letters >= 2 && digits + letters == word.len();
    (is_mixed && (word.len() >= 16 || word.len() >= 8 && is_hex(word))).then_some(Chance::Random)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::hypervisor::{CommandLine, FileMode};
    use crate::tree::record::operation::Outcome;

    fn run(line: &str, stdin: Option<&str>) -> Request {
        let operation = Operation::Run {
            command: CommandLine::Shell(line.into()),
            stdin: stdin.map(|stdin| Content::of(stdin.as_bytes())),
            env: Default::default(),
            cwd: None,
            user: None,
        };
        request(operation, stdin)
    }

    fn write(content: &str) -> Request {
        let mode = FileMode::default();
        request(Operation::Write { path: "/x".into(), content: Content::of(content.as_bytes()), mode }, Some(content))
    }

    fn request(operation: Operation, content: Option<&str>) -> Request {
        let payload = content.map_or(Payload::Nothing, |content| Payload::Bytes(content.as_bytes().to_vec()));
        Request { operation, payload, timeout: Duration::from_secs(1), check: true, retry_on: Vec::new() }
    }

    fn entry(request: &Request) -> JournalEntry {
        let shape = shape_of(&request.payload);
        JournalEntry { operation: request.operation.clone(), outcome: Outcome::Done, took: 1, shape }
    }

    #[test]
    fn clocks_and_random_values_are_told_from_changes() {
        for (was, now, expected) in [
            ("echo 1732331520 > /stamp", "echo 1732331999 > /stamp", true),
            ("touch -d 2026-11-22T10:00:01 x", "touch -d 2026-11-23T09:10:11 x", true),
            ("echo 10:00:01", "echo 11:12:13", true),
            ("set-id 6f1e8a52-7a0d-4f51-9a51-0f6f3e0a1b2c", "set-id 0b1c2d3e-1111-4222-8333-444455556666", true),
            ("echo a1b2c3d4e5f60718", "echo 99aabbcc00112233", true),
            ("apt-get install mariadb-server=10.6", "apt-get install mariadb-server=10.11", false),
            ("echo 1", "echo 2", false),
            ("echo a", "echo a b", false),
            ("echo 1732331520", "echo never", false),
            ("echo 1732331520", "echo 1732331999 again", false),
            ("echo 1732331520 a", "echo 1732331999,a", false),
            ("same", " same", false),
        ] {
            let (old, new) = (run(was, None), run(now, None));
            assert_eq!(differ_by_chance(&entry(&old), &new), expected, "{was} and {now}");
        }
    }

    #[test]
    fn what_goes_into_a_guest_is_looked_at_too() {
        for (was, now, expected) in [
            ("built=1732331520\nport=1\n", "built=1732331999\nport=1\n", true),
            ("built=1732331520\nport=1\n", "built=1732331999\nport=2\n", false),
            ("port=1\n", "port=2\n", false),
            ("port=1\n", "built=1732331999\n", false),
        ] {
            let both = [(write(was), write(now)), (run("cat", Some(was)), run("cat", Some(now)))];
            for (old, new) in both {
                assert_eq!(differ_by_chance(&entry(&old), &new), expected, "{was} and {now}");
            }
        }
        let stamped = |stamp| run(stamp, Some("built=1732331520\n"));
        assert!(differ_by_chance(&entry(&stamped("echo 1732331520")), &stamped("echo 1732331999")));
        assert!(!differ_by_chance(&entry(&stamped("echo 1")), &stamped("echo 2")));
    }
}
