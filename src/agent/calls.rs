//! The agent's commands as typed calls.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::transport::{Transport, TransportError};

/// Time for an answer that only a busy guest delays.
pub const PATIENT: Duration = Duration::from_secs(60);
/// Time for an answer to a question that can be asked again.
pub const QUICK: Duration = Duration::from_secs(10);

type Answer<T> = Result<T, TransportError>;

/// What `guest-exec-status` says.
#[derive(Debug, Default)]
pub struct Status {
    pub exited: bool,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// The agent's commands over a transport.
pub struct Calls<T>(pub T);

impl<T: Transport> Calls<T> {
    /// Sends one command and returns what the agent puts under `return`.
    pub fn call(&self, command: &str, arguments: Value, timeout: Duration) -> Answer<Value> {
        let mut message = json!({ "execute": command });
        if arguments.as_object().is_some_and(|arguments| !arguments.is_empty()) {
            message["arguments"] = arguments;
        }
        let answer = self.0.command(&message.to_string(), timeout)?;
        let mut answer: Value = serde_json::from_str(&answer)
            .map_err(|error| TransportError::Other(format!("the guest agent's answer is no JSON: {error}")))?;
        if let Some(error) = answer.get("error") {
            let text = |key: &str| error[key].as_str().unwrap_or_default().to_string();
            return Err(TransportError::Agent { class: text("class"), desc: text("desc") });
        }
        Ok(answer["return"].take())
    }

    pub fn ping(&self, timeout: Duration) -> Answer<()> {
        self.call("guest-ping", json!({}), timeout).map(|_| ())
    }

    /// Starts a program with its output captured; returns its process id.
    pub fn exec(&self, path: &str, args: &[String], stdin: &[u8]) -> Answer<i64> {
        let mut arguments = json!({ "path": path, "arg": args, "capture-output": true });
        if !stdin.is_empty() {
            arguments["input-data"] = BASE64.encode(stdin).into();
        }
        number(&self.call("guest-exec", arguments, PATIENT)?["pid"])
    }

    pub fn exec_status(&self, pid: i64) -> Answer<Status> {
        let answer = self.call("guest-exec-status", json!({ "pid": pid }), QUICK)?;
        let code = |key: &str| answer[key].as_i64().and_then(|code| i32::try_from(code).ok());
        Ok(Status {
            exited: answer["exited"].as_bool().unwrap_or_default(),
            exit_code: code("exitcode"),
            signal: code("signal"),
            stdout: bytes(&answer["out-data"])?,
            stderr: bytes(&answer["err-data"])?,
        })
    }

    /// Opens a file; `mode` as in `fopen`.
    pub fn open(&self, path: &str, mode: &str) -> Answer<i64> {
        number(&self.call("guest-file-open", json!({ "path": path, "mode": mode }), PATIENT)?)
    }

    /// Reads up to `count` bytes, and says whether the file ends after them.
    pub fn read(&self, handle: i64, count: usize) -> Answer<(Vec<u8>, bool)> {
        let answer = self.call("guest-file-read", json!({ "handle": handle, "count": count }), PATIENT)?;
        Ok((bytes(&answer["buf-b64"])?, answer["eof"].as_bool().unwrap_or_default()))
    }

    /// Writes some of `data`, at least one byte; returns how much.
    pub fn write(&self, handle: i64, data: &[u8]) -> Answer<usize> {
        let arguments = json!({ "handle": handle, "buf-b64": BASE64.encode(data) });
        match number(&self.call("guest-file-write", arguments, PATIENT)?["count"])? {
            count if count > 0 => Ok(usize::try_from(count).unwrap_or(usize::MAX).min(data.len())),
            _ => Err(TransportError::Other("the guest agent wrote nothing".to_string())),
        }
    }

    pub fn close(&self, handle: i64) -> Answer<()> {
        self.call("guest-file-close", json!({ "handle": handle }), PATIENT).map(|_| ())
    }
}

fn number(value: &Value) -> Answer<i64> {
    value.as_i64().ok_or_else(|| TransportError::Other(format!("the guest agent answered `{value}`, not a number")))
}

fn bytes(value: &Value) -> Answer<Vec<u8>> {
    let text = value.as_str().unwrap_or_default();
    BASE64.decode(text).map_err(|error| TransportError::Other(format!("the guest agent's data is broken: {error}")))
}
