//! Agents that restart, are away for a while, or answer nonsense.

#![allow(clippy::unwrap_used)]

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::super::{Agent, Transport, TransportError};
use crate::hypervisor::{Command, Exit, FileMode, Guest, Stream};
use crate::stop::{Interrupt, Stop};

fn stop() -> Stop {
    Stop::after(Duration::from_secs(20), &Interrupt::default())
}

fn away() -> TransportError {
    TransportError::NotConnected("QEMU guest agent is not connected".to_string())
}

fn refusal(desc: &str) -> TransportError {
    TransportError::Agent { class: "GenericError".to_string(), desc: desc.to_string() }
}

/// A guest whose agent restarts: files, and the one command that runs.
#[derive(Default)]
struct Restarting(Mutex<State>);

#[derive(Default)]
struct State {
    /// How many messages have come.
    messages: usize,
    /// The messages, by number, that the agent does not answer because it restarts then; if true, it carries them out.
    restarts: BTreeMap<usize, bool>,
    /// For how many messages it is away after that.
    is_away_for: usize,
    away_left: usize,
    next: i64,
    /// What the agent knows: handles with path and place, and the processes that it began.
    handles: BTreeMap<i64, (String, usize)>,
    known: BTreeMap<i64, Vec<u8>>,
    files: BTreeMap<String, Vec<u8>>,
    /// What was written and is in the agent's memory only: at most so many bytes of each file's end.
    unwritten: usize,
    /// How often the command was begun.
    begun: usize,
    /// What a look at the command's files says.
    look: &'static str,
}

impl State {
    #[expect(clippy::too_many_lines, reason = "an arm for each call of the agent")]
    fn answer(&mut self, message: &Value) -> Result<Value, TransportError> {
        let arguments = &message["arguments"];
        let handle = || arguments["handle"].as_i64().unwrap();
        let text = message.to_string();
        Ok(match message["execute"].as_str().unwrap() {
            "guest-ping" => json!({}),
            "guest-exec" => {
                self.next += 1;
                let printed = match () {
                    () if text.contains("most=500000") => {
                        self.begun += 1;
                        b"".to_vec()
                    }
                    () if text.contains("what has become") || text.contains("grep -q") => self.look.into(),
                    () => Vec::new(),
                };
                self.known.insert(self.next, printed);
                json!({ "pid": self.next })
            }
            "guest-exec-status" => {
                let pid = arguments["pid"].as_i64().unwrap();
                let printed = self.known.remove(&pid).ok_or_else(|| refusal("Invalid parameter 'pid'"))?;
                json!({ "exited": true, "exitcode": 0, "out-data": BASE64.encode(printed) })
            }
            "guest-file-open" => {
                let (path, mode) = (arguments["path"].as_str().unwrap(), arguments["mode"].as_str().unwrap());
                // A command's files, whose names are not known here.
                let path = path.strip_prefix("/run/snaptree-").and_then(|name| name.rsplit('.').next()).unwrap_or(path);
                if mode == "w" {
                    self.files.insert(path.to_string(), Vec::new());
                } else if !self.files.contains_key(path) {
                    return Err(refusal(&format!("failed to open file '{path}': No such file or directory")));
                }
                self.next += 1;
                self.handles.insert(self.next, (path.to_string(), 0));
                json!(self.next)
            }
            "guest-file-close" => {
                self.handles.remove(&handle()).ok_or_else(|| unknown(handle()))?;
                json!({})
            }
            "guest-file-seek" => {
                let (path, place) = self.handles.get_mut(&handle()).ok_or_else(|| unknown(handle()))?;
                let offset = arguments["offset"].as_u64().unwrap() as usize;
                *place = [0, *place, self.files[path].len()][arguments["whence"].as_u64().unwrap() as usize] + offset;
                json!({ "position": *place, "eof": false })
            }
            "guest-file-read" => {
                let (path, place) = self.handles.get_mut(&handle()).ok_or_else(|| unknown(handle()))?;
                let rest = &self.files[path][*place..];
                let piece = &rest[..rest.len().min(arguments["count"].as_u64().unwrap() as usize)];
                *place += piece.len();
                json!({ "count": piece.len(), "buf-b64": BASE64.encode(piece), "eof": piece.len() == rest.len() })
            }
            "guest-file-write" => {
                let (path, place) = self.handles.get_mut(&handle()).ok_or_else(|| unknown(handle()))?;
                let bytes = BASE64.decode(arguments["buf-b64"].as_str().unwrap()).unwrap();
                let file = self.files.get_mut(path).unwrap();
                file.truncate(*place);
                file.extend(&bytes);
                *place += bytes.len();
                json!({ "count": bytes.len(), "eof": false })
            }
            other => panic!("unexpected: {other}"),
        })
    }
}

fn unknown(handle: i64) -> TransportError {
    refusal(&format!("handle '{handle}' has not been found"))
}

impl Transport for Restarting {
    fn command(&self, text: &str, _timeout: Duration) -> Result<String, TransportError> {
        let mut state = self.0.lock();
        if state.away_left > 0 {
            state.away_left -= 1;
            return Err(away());
        }
        state.messages += 1;
        let number = state.messages;
        let message: Value = serde_json::from_str(text).unwrap();
        if let Some(is_done) = state.restarts.get(&number).copied() {
            if is_done {
                let _ = state.answer(&message);
            }
            let written = std::mem::take(&mut state.handles);
            state.known.clear();
            for (path, _) in written.into_values() {
                let lost = state.unwritten;
                let file = state.files.get_mut(&path).unwrap();
                file.truncate(file.len() - lost.min(file.len()));
            }
            state.away_left = state.is_away_for;
            return Err(away());
        }
        state.answer(&message).map(|answer| json!({ "return": answer }).to_string())
    }
}

fn agent(state: State) -> Agent<Restarting> {
    let agent = Agent::new(Restarting(Mutex::new(state)), "vm");
    agent.wait_until_ready(&stop()).unwrap();
    agent
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8).collect()
}

/// Tries each message at which the agent can restart, answering the last question or not, at once or after a while.
fn at_each_restart(messages: usize, mut check: impl FnMut(State, &str)) {
    for number in 2..=messages {
        for (is_done, is_away_for) in [(false, 0), (true, 0), (true, 3)] {
            let restarts = [(number, is_done)].into();
            check(State { restarts, is_away_for, ..State::default() }, &format!("{number} {is_done} {is_away_for}"));
        }
    }
}

#[test]
fn a_file_is_read_to_its_end_across_a_restart() {
    let content = bytes(2_500_000);
    at_each_restart(7, |state, when| {
        let agent = agent(State { files: [("/f".to_string(), content.clone())].into(), ..state });
        let mut read = Vec::new();
        let length = agent.read("/f", &mut read, &stop()).unwrap();
        assert!(length == read.len() as u64 && read == content, "{when}: {length} bytes");
    });
}

#[test]
fn a_file_is_written_to_its_end_across_a_restart() {
    let content = bytes(200_000);
    at_each_restart(9, |state, when| {
        for unwritten in [0, 4095, 60_000] {
            let agent = agent(State { unwritten, ..State { restarts: state.restarts.clone(), ..State::default() } });
            let mode = FileMode { mode: Some(0o600), owner: None };
            let length =
                super::super::file::write(&agent.calls, "/f", &mut &content[..], &mode, &stop(), &mut |_| Ok(()));
            assert_eq!(length.unwrap(), 200_000, "{when}");
            assert!(files(&agent)["/f"] == content, "{when} {unwritten}");
        }
    });
}

#[test]
fn what_an_agent_has_lost_of_a_file_is_an_error() {
    let agent = agent(State { restarts: [(12, false)].into(), unwritten: 300_000, ..State::default() });
    let mode = FileMode { mode: Some(0o600), owner: None };
    let source = &mut &bytes(1_000_000)[..];
    let error = super::super::file::write(&agent.calls, "/f", source, &mode, &stop(), &mut |_| Ok(())).unwrap_err();
    let lost =
        "cannot write `/f` in the guest: less is in the file than was written: the guest agent restarted meanwhile";
    assert_eq!(error.to_string(), lost);
}

fn files(agent: &Agent<Restarting>) -> BTreeMap<String, Vec<u8>> {
    agent.calls.transport.0.lock().files.clone()
}

fn run(state: State) -> (crate::error::Result<Exit>, Vec<u8>, usize) {
    let files = ["out", "err"].map(|name| (name, if name == "out" { b"said\n".to_vec() } else { Vec::new() }));
    let agent = agent(state);
    // The wrapper's own files, under whatever id it was given.
    let restarting = &agent.calls.transport.0;
    restarting.lock().files.extend(files.map(|(name, content)| (name.to_string(), content)));
    let mut stdout = Vec::new();
    let mut keep = |stream, data: &[u8]| {
        if stream == Stream::Stdout {
            stdout.extend_from_slice(data);
        }
    };
    let exit = agent.run(&Command::argv(["make"]), &mut keep, &stop());
    let begun = restarting.lock().begun;
    (exit, stdout, begun)
}

#[test]
fn the_result_of_a_command_is_found_when_its_agent_has_restarted() {
    let restart = |number| State { restarts: [(number, true)].into(), is_away_for: 2, ..State::default() };
    let (exit, stdout, begun) = run(State { look: "ended 5\n", ..restart(3) });
    assert_eq!((exit.unwrap(), stdout.as_slice(), begun), (Exit(5), &b"said\n"[..], 1));
    let (exit, _, begun) = run(State { look: "killed\n", ..restart(3) });
    let lost = "lost `make` in the guest: the guest agent restarted, and the command was killed before it had ended";
    assert_eq!((exit.unwrap_err().to_string().as_str(), begun), (lost, 1));
    let (exit, ..) = run(State { look: "nothing\n", ..restart(3) });
    let error = exit.unwrap_err().to_string();
    assert!(error.starts_with("lost `make` in the guest: the guest restarted meanwhile\nhint: "), "{error}");
    let (exit, ..) = run(State { look: "?\n", ..restart(3) });
    let unclear = "lost `make` in the guest: its files cannot be read: `?`";
    assert_eq!(exit.unwrap_err().to_string(), unclear);
}

#[test]
fn a_command_whose_beginning_was_not_answered_is_begun_once() {
    let lost = |is_done| State { restarts: [(2, is_done)].into(), is_away_for: 2, ..State::default() };
    // It has begun, and is found.
    let (exit, _, begun) = run(State { look: "killed\n", ..lost(true) });
    assert!(exit.unwrap_err().to_string().contains("the command was killed"));
    assert_eq!(begun, 1);
    // It has not, and is begun again.
    let (_, _, begun) = run(State { look: "nothing\n", ..lost(false) });
    assert_eq!(begun, 1);
}

#[test]
fn an_agent_that_never_was_there_is_not_waited_for() {
    struct Silent;
    impl Transport for Silent {
        fn command(&self, _: &str, _: Duration) -> Result<String, TransportError> {
            Err(away())
        }
    }
    let agent = Agent::new(Silent, "vm");
    let error = agent.run(&Command::argv(["make"]), &mut |_, _| {}, &stop()).unwrap_err().to_string();
    assert_eq!(error, "cannot run `make` in the guest: QEMU guest agent is not connected");
    let error = agent.read("/f", &mut Vec::new(), &stop()).unwrap_err().to_string();
    assert_eq!(error, "cannot read `/f` in the guest: QEMU guest agent is not connected");
}

/// Answers one of the agent's commands with nonsense, and the others as a good agent does.
struct Rubbish {
    of: &'static str,
    answer: &'static str,
    others: Restarting,
}

impl Transport for Rubbish {
    fn command(&self, text: &str, timeout: Duration) -> Result<String, TransportError> {
        let message: Value = serde_json::from_str(text).unwrap();
        if message["execute"] == self.of { Ok(self.answer.to_string()) } else { self.others.command(text, timeout) }
    }
}

/// What is wrong for every command, and what the error says about it.
const NEVER_RIGHT: [(&str, &str); 6] = [
    ("", "is no JSON: EOF while parsing a value at line 1 column 0"),
    ("\0\u{fffd}{", "is no JSON: expected value at line 1 column 1"),
    (r#"{"return": "#, "is no JSON: EOF while parsing a value at line 1 column 11"),
    ("[]", "has no `return`"),
    ("{}", "has no `return`"),
    ("7", "has no `return`"),
];

#[test]
#[expect(clippy::too_many_lines, reason = "a row for each call of the agent")]
fn rubbish_is_a_clear_error_for_every_call() {
    let own: [(&str, &[(&str, &str)]); 6] = [
        (
            "guest-exec",
            &[
                (r#"{"return": {}}"#, "has no number `pid`"),
                (r#"{"return": {"pid": "7"}}"#, "has no number `pid`"),
                (r#"{"return": {"pid": -1}}"#, "has no number `pid`"),
                (r#"{"return": {"pid": 1e99}}"#, "has no number `pid`"),
                (r#"{"return": 7}"#, "has no number `pid`"),
            ],
        ),
        (
            "guest-exec-status",
            &[
                (r#"{"return": {}}"#, "does not say whether it `exited`"),
                (r#"{"return": {"exited": "yes"}}"#, "does not say whether it `exited`"),
                (r#"{"return": {"exited": true}}"#, "has neither an `exitcode` nor a `signal`"),
                (r#"{"return": {"exited": true, "exitcode": "0"}}"#, "has neither an `exitcode` nor a `signal`"),
                (
                    r#"{"return": {"exited": true, "exitcode": 0, "out-data": "%"}}"#,
                    "has a broken `out-data`: Invalid symbol 37, offset 0.",
                ),
                (r#"{"return": {"exited": true, "exitcode": 0, "err-data": 1}}"#, "has a `err-data` that is no text"),
            ],
        ),
        ("guest-file-open", &[(r#"{"return": "7"}"#, "is no number"), (r#"{"return": {}}"#, "is no number")]),
        (
            "guest-file-read",
            &[
                (r#"{"return": {"count": 1, "eof": true}}"#, "has no `buf-b64`"),
                (r#"{"return": {"count": 3, "buf-b64": "eA==", "eof": true}}"#, "has 1 bytes and the `count` 3"),
                (r#"{"return": {"buf-b64": "eA==", "eof": true}}"#, "has 1 bytes and the `count` null"),
                (
                    r#"{"return": {"count": 1, "buf-b64": "eA", "eof": true}}"#,
                    "has a broken `buf-b64`: Invalid padding",
                ),
                (r#"{"return": {"count": 1, "buf-b64": "eA=="}}"#, "does not say whether it is `eof`"),
                (r#"{"return": {"count": 0, "buf-b64": "", "eof": false}}"#, "has no bytes, and is no `eof`"),
            ],
        ),
        (
            "guest-file-write",
            &[
                (r#"{"return": {"count": 0, "eof": false}}"#, "has no number `count`"),
                (r#"{"return": {"eof": false}}"#, "has no number `count`"),
                (r#"{"return": {"count": 5, "eof": false}}"#, "has a `count` of more than the 4 bytes sent"),
            ],
        ),
        ("guest-file-close", &[(r#"{"return": {"count": 4, "eof": false}}"#, r#"is `{"count":4,"eof":false}`"#)]),
    ];
    for (of, table) in own {
        for (answer, said) in table.iter().chain(&NEVER_RIGHT) {
            let files = [("/f".to_string(), b"text".to_vec())].into();
            let others = Restarting(Mutex::new(State { files, look: "killed\n", ..State::default() }));
            let agent = Agent::new(Rubbish { of, answer, others }, "vm");
            let mode = FileMode { mode: None, owner: None };
            let error = match of {
                "guest-exec" | "guest-exec-status" => {
                    agent.run(&Command::argv(["make"]), &mut |_, _| {}, &stop()).map(drop).unwrap_err()
                }
                "guest-file-write" => agent.write("/f", &mut &b"text"[..], &mode, &stop()).map(drop).unwrap_err(),
                _ => agent.read("/f", &mut Vec::new(), &stop()).map(drop).unwrap_err(),
            };
            let error = error.to_string();
            assert!(error.contains(&format!("the guest agent's answer to `{of}` {said}")), "{answer}: {error}");
        }
    }
}

#[test]
fn an_answer_that_comes_twice_is_not_taken_for_the_next_one() {
    struct Twice(Restarting, Mutex<Option<String>>);
    impl Transport for Twice {
        fn command(&self, text: &str, timeout: Duration) -> Result<String, TransportError> {
            let answer = self.0.command(text, timeout)?;
            let is_first_piece = text.contains("guest-file-read") && self.0.0.lock().messages == 2;
            let mut late = self.1.lock();
            let is_late = late.is_some() || is_first_piece;
            let now = late.take().unwrap_or_else(|| answer.clone());
            *late = is_late.then_some(answer);
            Ok(now)
        }
    }
    let files = [("/f".to_string(), vec![7; 3 << 20])].into();
    let agent = Agent::new(Twice(Restarting(Mutex::new(State { files, ..State::default() })), Mutex::default()), "vm");
    let error = agent.read("/f", &mut Vec::new(), &stop()).unwrap_err().to_string();
    assert!(error.starts_with("cannot read `/f` in the guest: the guest agent's answer"), "{error}");
}

#[test]
fn an_agent_that_is_told_to_refuse_names_where() {
    struct Blocked(&'static str);
    impl Transport for Blocked {
        fn command(&self, _: &str, _: Duration) -> Result<String, TransportError> {
            Err(refusal(self.0))
        }
    }
    for refusal in [
        "The command guest-exec has been disabled for this instance",
        "Command guest-exec has been disabled: the command is not allowed",
        "The command guest-exec has not been found",
    ] {
        let agent = Agent::new(Blocked(refusal), "vm");
        let error = agent.run(&Command::argv(["make"]), &mut |_, _| {}, &stop()).unwrap_err().to_string();
        let hint = "allow it in the guest: BLACKLIST_RPC or FILTER_RPC_ARGS in /etc/sysconfig/qemu-ga, or `block-rpcs` in \
                    /etc/qemu/qemu-ga.conf; then restart the guest agent";
        assert_eq!(error, format!("cannot run `make` in the guest: {refusal}\nhint: {hint}"));
        let error = agent.write("/f", &mut &b""[..], &FileMode::default(), &stop()).unwrap_err().to_string();
        assert_eq!(error, format!("cannot write `/f` in the guest: {refusal}\nhint: {hint}"));
    }
}
