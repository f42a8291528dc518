#![allow(clippy::unwrap_used)]

mod restart;
mod units;
mod way;

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::wrapper::MOST_INLINE;
use super::{Agent, Transport, TransportError};
use crate::hypervisor::{Command, CommandLine, Exit, FileMode, Guest, Stream, UnitState};
use crate::stop::{Interrupt, Stop};

pub type Answer = Result<Value, TransportError>;

/// Answers commands from a script, and insists on their order.
pub struct Script {
    answers: Mutex<VecDeque<(&'static str, Answer)>>,
    id: Wrapped,
}

impl Script {
    pub fn new<const N: usize>(answers: [(&'static str, Answer); N]) -> Self {
        Self { answers: Mutex::new(answers.into()), id: Wrapped::default() }
    }
}

impl Transport for Script {
    fn command(&self, text: &str, _timeout: Duration) -> Result<String, TransportError> {
        let message: Value = serde_json::from_str(text).unwrap();
        let mut answers = self.answers.lock();
        if answers.is_empty() && text.contains("for files; do rm") {
            // The last thing that an agent does; its answer is never read.
            return Err(TransportError::Gone("it is over".to_string()));
        }
        let (command, answer) = answers.pop_front().unwrap_or_else(|| panic!("unexpected: {text:.300}"));
        assert_eq!(message["execute"], command, "{text:.300}");
        self.id.note(&message);
        answer.map(|answer| json!({ "return": self.id.put_in(answer) }).to_string())
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let rest: Vec<&str> = self.answers.lock().iter().map(|(command, _)| *command).collect();
            assert!(rest.is_empty(), "never asked: {rest:?}");
        }
    }
}

/// The id of the last command that was wrapped; what the wrapper prints begins with it.
#[derive(Default)]
struct Wrapped(Mutex<String>);

impl Wrapped {
    fn note(&self, message: &Value) {
        let words = message["arguments"]["arg"].as_array();
        let place = words.and_then(|words| words.iter().position(|word| word == "sh"));
        let is_wrapper = message.to_string().contains("most=500000");
        if let Some(id) = words.zip(place).and_then(|(words, place)| words.get(place + 1)).filter(|_| is_wrapper) {
            *self.0.lock() = id.as_str().unwrap().to_string();
        }
    }

    fn put_in(&self, mut answer: Value) -> Value {
        let printed = answer["out-data"].as_str().map(|data| BASE64.decode(data).unwrap_or_default());
        if let Some(rest) = printed.as_deref().and_then(|printed| printed.strip_prefix(b"ended\n")) {
            let head = format!("ended {}\n", self.0.lock());
            answer["out-data"] = BASE64.encode([head.as_bytes(), rest].concat()).into();
        }
        answer
    }
}

fn agent<const N: usize>(script: [(&'static str, Answer); N]) -> Agent<Script> {
    Agent::new(Script::new(script), "vm")
}

pub fn stop() -> Stop {
    Stop::after(Duration::from_secs(20), &Interrupt::default())
}

fn refusal(desc: &str) -> Answer {
    Err(TransportError::Agent { class: "GenericError".to_string(), desc: desc.to_string() })
}

fn running() -> (&'static str, Answer) {
    ("guest-exec-status", Ok(json!({ "exited": false })))
}

pub fn exited(code: i32, stdout: &[u8], stderr: &[u8]) -> (&'static str, Answer) {
    let (stdout, stderr) = (BASE64.encode(stdout), BASE64.encode(stderr));
    ("guest-exec-status", Ok(json!({ "exited": true, "exitcode": code, "out-data": stdout, "err-data": stderr })))
}

fn data(bytes: &[u8], eof: bool) -> (&'static str, Answer) {
    ("guest-file-read", Ok(json!({ "count": bytes.len(), "buf-b64": BASE64.encode(bytes), "eof": eof })))
}

pub const EXEC: &str = "guest-exec";
const OPEN: &str = "guest-file-open";
const CLOSE: &str = "guest-file-close";

pub fn pid(pid: i64) -> (&'static str, Answer) {
    (EXEC, Ok(json!({ "pid": pid })))
}

fn opened(handle: i64) -> (&'static str, Answer) {
    (OPEN, Ok(json!(handle)))
}

fn closed() -> (&'static str, Answer) {
    (CLOSE, Ok(json!({})))
}

fn run(agent: &Agent<Script>, stop: &Stop) -> (crate::error::Result<Exit>, Vec<u8>, Vec<u8>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut keep = |stream, data: &[u8]| match stream {
        Stream::Stdout => stdout.extend_from_slice(data),
        Stream::Stderr => stderr.extend_from_slice(data),
    };
    let command = Command::new(CommandLine::Shell("make\nall".to_string()));
    let exit = agent.run(&command, &mut keep, stop);
    (exit, stdout, stderr)
}

#[test]
fn a_short_command_needs_no_files() {
    let agent = agent([pid(7), running(), exited(3, b"ended\nfiles\n\0\xff", b"oops")]);
    let (exit, stdout, stderr) = run(&agent, &stop());
    assert_eq!(exit.unwrap(), Exit(3));
    assert_eq!(stdout, b"files\n\0\xff");
    assert_eq!(stderr, b"oops");
}

#[test]
fn a_guest_without_setsid_runs_the_shell_itself() {
    let missing = (EXEC, refusal("Failed to execute child process \u{201c}setsid\u{201d} (No such file or directory)"));
    let (exit, stdout, _) = run(&agent([missing, pid(7), exited(0, b"ended\nx", b"")]), &stop());
    assert_eq!((exit.unwrap(), stdout.as_slice()), (Exit(0), &b"x"[..]));
}

/// The polls of the first half second vary, so this transport answers by what is asked instead of by order.
struct Slow {
    since: std::time::Instant,
    reads: Mutex<VecDeque<&'static [u8]>>,
    end: Value,
    id: Wrapped,
}

const RUN_TIME: Duration = Duration::from_millis(900);

impl Transport for Slow {
    fn command(&self, text: &str, _timeout: Duration) -> Result<String, TransportError> {
        let message: Value = serde_json::from_str(text).unwrap();
        let pid = message["arguments"]["pid"].as_i64();
        self.id.note(&message);
        let answer = match message["execute"].as_str().unwrap() {
            "guest-exec" if text.contains("setsid") => json!({ "pid": 7 }),
            "guest-exec" => json!({ "pid": 8 }),
            "guest-exec-status" if pid == Some(8) => {
                json!({ "exited": true, "exitcode": 0, "out-data": BASE64.encode("killed\n") })
            }
            "guest-exec-status" if self.since.elapsed() < RUN_TIME => json!({ "exited": false }),
            "guest-exec-status" => self.id.put_in(self.end.clone()),
            "guest-file-open" if text.contains(".err") => json!(2),
            "guest-file-open" => json!(1),
            "guest-file-read" if message["arguments"]["handle"] == 1 => {
                // The last piece comes when the command has ended.
                let mut reads = self.reads.lock();
                let now = reads.len() > 1 || self.since.elapsed() >= RUN_TIME;
                let bytes = if now { reads.pop_front().unwrap_or_default() } else { b"" };
                json!({ "count": bytes.len(), "buf-b64": BASE64.encode(bytes), "eof": true })
            }
            "guest-file-read" => json!({ "count": 0, "buf-b64": "", "eof": true }),
            "guest-file-close" => json!({}),
            other => panic!("unexpected: {other}"),
        };
        Ok(json!({ "return": answer }).to_string())
    }
}

fn slow(reads: &[&'static [u8]], end: Value) -> (Exit, Vec<u8>) {
    let reads = Mutex::new(reads.iter().copied().collect());
    let agent = Agent::new(Slow { since: std::time::Instant::now(), reads, end, id: Wrapped::default() }, "vm");
    let mut stdout = Vec::new();
    let exit = agent.run(&Command::argv(["x"]), &mut |_, data| stdout.extend_from_slice(data), &stop()).unwrap();
    (exit, stdout)
}

#[test]
fn what_was_streamed_is_not_handed_over_again_at_the_end() {
    let end = json!({ "exited": true, "exitcode": 0, "out-data": BASE64.encode("ended\none two three") });
    let (exit, stdout) = slow(&[b"one ", b"two "], end);
    assert_eq!((exit, stdout.as_slice()), (Exit(0), &b"one two three"[..]));
}

#[test]
fn much_output_is_read_from_the_files_to_its_end() {
    let beginning = format!("ended\n{}", "x".repeat(MOST_INLINE + 1));
    let end = json!({ "exited": true, "exitcode": 1, "out-data": BASE64.encode(beginning) });
    let (exit, stdout) = slow(&[b"one ", b"two"], end);
    assert_eq!((exit, stdout.as_slice()), (Exit(1), &b"one two"[..]));
}

#[test]
fn a_wrapper_that_was_killed_still_yields_what_the_command_printed() {
    let end = json!({ "exited": true, "signal": 9 });
    let (exit, stdout) = slow(&[b"last words"], end);
    assert_eq!((exit, stdout.as_slice()), (Exit(137), &b"last words"[..]));
}

#[test]
fn a_time_limit_kills_the_command_and_removes_its_files() {
    let stop = Stop::after(Duration::ZERO, &Interrupt::default());
    let agent = agent([
        pid(7),
        pid(8), // the killer
        exited(0, b"", b""),
        ("guest-exec-status", Ok(json!({ "exited": true, "signal": 9 }))),
        opened(1),
        data(b"so far", true),
        (OPEN, refusal("failed to open file '/run/snaptree-x.err' (mode: 'r'): No such file or directory")),
        closed(),
        pid(9), // rm
        exited(0, b"", b""),
    ]);
    let (exit, stdout, _) = run(&agent, &stop);
    let error = exit.unwrap_err();
    assert_eq!(error.kind, crate::error::Kind::Timeout);
    assert_eq!(error.message, "`make...` in the guest timed out after 0s");
    assert_eq!(stdout, b"so far");
}

#[test]
fn waiting_lasts_until_the_agent_connects_and_ends_with_the_domain() {
    let away = || ("guest-ping", Err(TransportError::NotConnected("not connected".to_string())));
    agent([away(), away(), ("guest-ping", Ok(json!({})))]).wait_until_ready(&stop()).unwrap();
    let gone = ("guest-ping", Err(TransportError::Gone("domain is not running".to_string())));
    let error = agent([away(), gone]).wait_until_ready(&stop()).unwrap_err();
    assert_eq!(error.message, "the domain `vm` stopped");
}

#[test]
fn a_file_is_closed_when_reading_it_fails() {
    let agent = agent([opened(5), ("guest-file-read", refusal("failed to read file: Is a directory")), closed()]);
    let error = agent.read("/etc", &mut Vec::new(), &stop()).unwrap_err().to_string();
    assert_eq!(error, "cannot read `/etc` in the guest: Is a directory");
}

#[test]
fn a_missing_directory_is_told_with_the_path() {
    let missing = || (OPEN, refusal("failed to open file '/a/b' (mode: 'w'): No such file or directory"));
    let error = agent([missing(), missing()]).write("/a/b", &mut &b"x"[..], &FileMode::default(), &stop()).unwrap_err();
    assert_eq!(error.to_string(), "cannot write `/a/b` in the guest: No such file or directory");
}

#[test]
fn a_written_file_gets_its_mode_before_its_contents() {
    let mode = FileMode { mode: Some(0o600), owner: None };
    let written = ("guest-file-write", Ok(json!({ "count": 1 })));
    let again = ("guest-file-write", Ok(json!({ "count": 2 })));
    let agent = agent([opened(5), pid(7), exited(0, b"ended\n", b""), written, again, closed()]);
    assert_eq!(agent.write("/f", &mut &b"abc"[..], &mode, &stop()).unwrap(), 3);
}

#[test]
fn a_unit_is_asked_about_with_systemctl() {
    let state = |code, stdout: &[u8], stderr: &[u8]| {
        agent([pid(7), exited(code, &[b"ended\n", stdout].concat(), stderr)]).unit_state("mariadb", &stop())
    };
    assert_eq!(state(0, b"active\n", b"").unwrap(), UnitState::Active);
    assert_eq!(state(3, b"failed\n", b"").unwrap(), UnitState::Failed);
    assert_eq!(state(3, b"activating\n", b"").unwrap(), UnitState::Other("activating".to_string()));
    let error = state(127, b"", b"sh: 1: systemctl: not found").unwrap_err();
    assert_eq!(error.message, "`wait_for_unit` needs systemd in the guest");
}

#[test]
fn a_reboot_is_over_when_the_boot_id_has_changed() {
    let read = |id: &'static [u8]| [opened(1), data(id, true), closed()];
    let [a, b, c] = read(b"one");
    let [d, e, f] = read(b"one");
    let [g, h, i] = read(b"two");
    let unanswered = ("guest-shutdown", Err(TransportError::NotConnected("timed out".to_string())));
    let away = (OPEN, Err(TransportError::NotConnected("not connected".to_string())));
    let no_systemd = [(EXEC, Ok(json!({ "pid": 7 }))), exited(127, b"ended\n", b"systemctl: not found\n")];
    let [j, k] = no_systemd;
    agent([a, b, c, unanswered, d, e, f, away, g, h, i, j, k]).reboot(&stop()).unwrap();
}

#[test]
fn a_reboot_is_asked_for_again_where_the_agent_was_away_and_the_guest_runs_on() {
    let read = |id: &'static [u8]| [opened(1), data(id, true), closed()];
    let [a, b, c] = read(b"one");
    let [d, e, f] = read(b"one");
    let [g, h, i] = read(b"two");
    let away = || Err(TransportError::NotConnected("not connected".to_string()));
    let (unheard, heard) = (("guest-shutdown", away()), ("guest-shutdown", away()));
    let [j, k] = [(EXEC, Ok(json!({ "pid": 7 }))), exited(127, b"ended\n", b"systemctl: not found\n")];
    agent([a, b, c, unheard, (OPEN, away()), d, e, f, heard, (OPEN, away()), g, h, i, j, k]).reboot(&stop()).unwrap();
}
