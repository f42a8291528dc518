//! The agent's commands as typed calls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::agent::transport::{Transport, TransportError};
use crate::error::{Error, Kind};
use crate::stop::Stop;

/// The time limit for an answer that only a busy guest delays.
pub const PATIENT: Duration = Duration::from_secs(60);
/// The time limit for an answer to a question that can be repeated.
pub const QUICK: Duration = Duration::from_secs(10);

/// The shell that runs small programs of ours in the guest.
pub const SHELL: &str = "/bin/sh";
/// The most input that is sent with the command itself: as much as a pipe holds.
pub const SMALL_INPUT: usize = 64 << 10;

type Answer<T> = Result<T, TransportError>;

/// What `guest-exec-status` says.
#[derive(Debug, Default)]
pub struct Status {
    pub exited: bool,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// Whether the agent has dropped some of the output.
    pub is_cut: bool,
}

/// Where a seek counts from, by the agent's numbers; not every agent knows the names for them.
#[derive(Clone, Copy)]
pub enum Whence {
    Beginning = 0,
    Here = 1,
    End = 2,
}

/// The agent's commands over a transport.
pub struct Calls<T> {
    pub transport: T,
    has_answered: AtomicBool,
}

impl<T: Transport> Calls<T> {
    pub fn new(transport: T) -> Self {
        Self { transport, has_answered: AtomicBool::default() }
    }

    /// Says whether the agent has answered before, so that it will be back if it is away.
    pub fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    /// Sends one command and returns what the agent puts under `return`.
    pub fn call(&self, command: &'static str, arguments: Value, timeout: Duration) -> Answer<Value> {
        let mut message = json!({ "execute": command });
        if arguments.as_object().is_some_and(|arguments| !arguments.is_empty()) {
            message["arguments"] = arguments;
        }
        let answer = self.transport.command(&message.to_string(), timeout)?;
        let mut answer: Value =
            serde_json::from_str(&answer).map_err(|error| wrong(command, format!("is no JSON: {error}")))?;
        self.has_answered.store(true, Ordering::Relaxed);
        if let Some(error) = answer.get("error") {
            let text = |key: &str| error[key].as_str().unwrap_or_default().to_string();
            return Err(TransportError::Agent { class: text("class"), desc: text("desc") });
        }
        answer.get_mut("return").map(Value::take).ok_or_else(|| wrong(command, "has no `return`"))
    }

    /// Asks something, and asks once more if the agent was away and had answered before.
    pub fn when_there<R>(&self, stop: &Stop, what: &str, ask: impl Fn() -> Answer<R>) -> Result<Answer<R>, Error> {
        loop {
            match ask() {
                Err(TransportError::NotConnected(_)) if self.has_answered() => self.wait_for_agent(stop, what)?,
                answer => return Ok(answer),
            }
        }
    }

    /// Waits for an absent agent to return, as long as `stop` allows; `what` says what for.
    pub fn wait_for_agent(&self, stop: &Stop, what: &str) -> Result<(), Error> {
        const PING: Duration = Duration::from_secs(1);
        const PAUSE: Duration = Duration::from_millis(100);
        loop {
            stop.check(|| what.to_string())?;
            let Err(TransportError::NotConnected(why)) = self.ping(PING) else { return Ok(()) };
            stop.sleep(PAUSE);
            stop.check(|| what.to_string()).map_err(|error| match error.kind {
                Kind::Timeout => error.cause(why),
                _ => error,
            })?;
        }
    }

    pub fn ping(&self, timeout: Duration) -> Answer<()> {
        self.call("guest-ping", json!({}), timeout).map(drop)
    }

    /// Starts a program with its output captured; returns its process id.
    pub fn exec(&self, path: &str, args: &[String], stdin: &[u8]) -> Answer<i64> {
        const COMMAND: &str = "guest-exec";
        let mut arguments = json!({ "path": path, "arg": args, "capture-output": true });
        if !stdin.is_empty() {
            arguments["input-data"] = BASE64.encode(stdin).into();
        }
        positive(COMMAND, "pid", &self.call(COMMAND, arguments, PATIENT)?["pid"])
    }

    /// Starts to remove files, each with all others whose names begin with its name, and does not wait for the end.
    pub fn remove(&self, files: &[String], timeout: Duration) -> Answer<()> {
        const REMOVE: &str = r#"for files; do rm -f "$files".*; done"#;
        let words = ["-c", REMOVE, "sh"].into_iter().chain(files.iter().map(String::as_str));
        let arguments = json!({ "path": "/bin/sh", "arg": words.collect::<Vec<_>>() });
        self.call("guest-exec", arguments, timeout).map(drop)
    }

    pub fn exec_status(&self, pid: i64) -> Answer<Status> {
        const COMMAND: &str = "guest-exec-status";
        let answer = self.call(COMMAND, json!({ "pid": pid }), QUICK)?;
        let exited = answer["exited"].as_bool().ok_or_else(|| wrong(COMMAND, "does not say whether it `exited`"))?;
        let code = |key: &str| answer[key].as_i64().and_then(|code| i32::try_from(code).ok());
        let (exit_code, signal) = (code("exitcode"), code("signal"));
        if exited && exit_code.is_none() && signal.is_none() {
            return Err(wrong(COMMAND, "has neither an `exitcode` nor a `signal`"));
        }
        let is_set = |key: &str| answer[key].as_bool().unwrap_or_default();
        Ok(Status {
            exited,
            exit_code,
            signal,
            stdout: bytes(COMMAND, "out-data", &answer)?.unwrap_or_default(),
            stderr: bytes(COMMAND, "err-data", &answer)?.unwrap_or_default(),
            is_cut: is_set("out-truncated") || is_set("err-truncated"),
        })
    }

    /// Opens a file; `mode` as in `fopen`.
    pub fn open(&self, path: &str, mode: &str) -> Answer<i64> {
        const COMMAND: &str = "guest-file-open";
        let handle = self.call(COMMAND, json!({ "path": path, "mode": mode }), PATIENT)?;
        handle.as_i64().ok_or_else(|| wrong(COMMAND, "is no number"))
    }

    /// Reads up to `count` bytes, and says whether the file ends after them.
    pub fn read(&self, handle: i64, count: usize) -> Answer<(Vec<u8>, bool)> {
        const COMMAND: &str = "guest-file-read";
        let answer = self.call(COMMAND, json!({ "handle": handle, "count": count }), PATIENT)?;
        let data = bytes(COMMAND, "buf-b64", &answer)?.ok_or_else(|| wrong(COMMAND, "has no `buf-b64`"))?;
        if answer["count"].as_u64() != Some(data.len() as u64) || data.len() > count {
            let said = short(&answer["count"]);
            return Err(wrong(COMMAND, format!("has {} bytes and the `count` {said}", data.len())));
        }
        let eof = answer["eof"].as_bool().ok_or_else(|| wrong(COMMAND, "does not say whether it is `eof`"))?;
        if data.is_empty() && !eof {
            return Err(wrong(COMMAND, "has no bytes, and is no `eof`"));
        }
        Ok((data, eof))
    }

    /// Writes some of `data`, at least one byte; returns how much.
    pub fn write(&self, handle: i64, data: &[u8]) -> Answer<usize> {
        const COMMAND: &str = "guest-file-write";
        let arguments = json!({ "handle": handle, "buf-b64": BASE64.encode(data) });
        let count = positive(COMMAND, "count", &self.call(COMMAND, arguments, PATIENT)?["count"])?;
        let count = usize::try_from(count).ok().filter(|count| *count <= data.len());
        count.ok_or_else(|| wrong(COMMAND, format!("has a `count` of more than the {} bytes sent", data.len())))
    }

    /// Seeks to `offset` bytes from `whence`; returns how many bytes after the beginning that is.
    pub fn seek(&self, handle: i64, offset: u64, whence: Whence) -> Answer<u64> {
        const COMMAND: &str = "guest-file-seek";
        let arguments = json!({ "handle": handle, "offset": offset, "whence": whence as u8 });
        let position = self.call(COMMAND, arguments, QUICK)?["position"].as_u64();
        position.ok_or_else(|| wrong(COMMAND, "has no number `position`"))
    }

    pub fn close(&self, handle: i64) -> Answer<()> {
        const COMMAND: &str = "guest-file-close";
        match self.call(COMMAND, json!({ "handle": handle }), PATIENT)? {
            // The answer to a write would hide that the last one failed.
            Value::Object(answer) if answer.is_empty() => Ok(()),
            other => Err(wrong(COMMAND, format!("is `{}`", short(&other)))),
        }
    }

    /// Returns nanoseconds since the epoch.
    pub fn time(&self) -> Answer<i64> {
        const COMMAND: &str = "guest-get-time";
        self.call(COMMAND, json!({}), QUICK)?.as_i64().ok_or_else(|| wrong(COMMAND, "is no number"))
    }
}

fn short(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    let short: String = text.chars().take(LONGEST).collect();
    if short.len() == text.len() { text } else { format!("{short}...") }
}

/// An answer that breaks the protocol.
fn wrong(command: &str, what: impl std::fmt::Display) -> TransportError {
    TransportError::Other(format!("the guest agent's answer to `{command}` {what}"))
}

fn positive(command: &str, key: &str, value: &Value) -> Answer<i64> {
    value.as_i64().filter(|number| *number > 0).ok_or_else(|| wrong(command, format!("has no number `{key}`")))
}

fn bytes(command: &str, key: &str, answer: &Value) -> Answer<Option<Vec<u8>>> {
    let Some(value) = answer.get(key) else { return Ok(None) };
    let text = value.as_str().ok_or_else(|| wrong(command, format!("has a `{key}` that is no text")))?;
    BASE64.decode(text).map(Some).map_err(|error| wrong(command, format!("has a broken `{key}`: {error}")))
}
