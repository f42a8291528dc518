//! What took how long: spans in a file that Perfetto and `chrome://tracing` show (Chrome's trace event format).

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::json;

use crate::error::{Because, Result};

static TRACE: OnceLock<Trace> = OnceLock::new();

struct Trace {
    file: Mutex<File>,
    began: Instant,
}

/// Something that takes time, from when it is made until it is dropped.
#[must_use]
pub struct Span(Option<Open>);

struct Open {
    name: &'static str,
    detail: String,
    began: Instant,
}

/// Begins to write spans into a file.
pub fn begin(file: &Path) -> Result<()> {
    let cannot = || format!("cannot write the trace `{}`", file.display());
    let mut opened = File::create(file).because(cannot)?;
    opened.write_all(b"[\n").because(cannot)?;
    let _ = TRACE.set(Trace { file: Mutex::new(opened), began: Instant::now() });
    Ok(())
}

/// Ends the list, so that it is JSON; a trace without its end is shown too.
pub fn end() {
    if let Some(trace) = TRACE.get() {
        let process =
            json!({ "name": "process_name", "ph": "M", "pid": std::process::id(), "args": { "name": "snaptree" } });
        let _ = writeln!(trace.file.lock(), "{process}\n]");
    }
}

/// Begins a span, if there is a trace.
pub fn span(name: &'static str) -> Span {
    span_of(name, String::new)
}

/// The same, of something.
pub fn span_of(name: &'static str, detail: impl FnOnce() -> String) -> Span {
    Span(TRACE.get().map(|_| Open { name, detail: detail(), began: Instant::now() }))
}

impl Drop for Span {
    fn drop(&mut self) {
        let (Some(span), Some(trace)) = (&self.0, TRACE.get()) else { return };
        let event = event(span, span.began.saturating_duration_since(trace.began), span.began.elapsed());
        // A trace is not worth a failure of what it is about.
        let _ = writeln!(trace.file.lock(), "{event},");
    }
}

fn event(span: &Open, at: Duration, took: Duration) -> serde_json::Value {
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let (at, took) = (at.as_nanos() as f64 / 1000.0, took.as_nanos() as f64 / 1000.0);
    let mut event =
        json!({ "name": span.name, "ph": "X", "ts": at, "dur": took, "pid": std::process::id(), "tid": thread.get() });
    if !span.detail.is_empty() {
        event["args"] = json!({ "of": span.detail });
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_an_event_in_microseconds() {
        let span = Open { name: "wake", detail: "lab/one".to_string(), began: Instant::now() };
        let event = event(&span, Duration::from_millis(2), Duration::from_micros(1500));
        assert_eq!((event["name"].as_str(), event["ph"].as_str()), (Some("wake"), Some("X")));
        assert_eq!((event["ts"].as_f64(), event["dur"].as_f64()), (Some(2000.0), Some(1500.0)));
        assert_eq!(event["args"]["of"], "lab/one");
    }
}
