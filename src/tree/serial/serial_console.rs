//! A console that a script watches and types into.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use regex::Regex;

use crate::error::{Error, Result};
use crate::hypervisor::{Console, Hypervisor};
use crate::stop::Stop;
use crate::tree::serial::plain_text::PlainText;

/// The size of the screen, which a serial line cannot tell.
const ROWS: NonZeroU16 = NonZeroU16::new(24).unwrap();
const COLUMNS: NonZeroU16 = NonZeroU16::new(80).unwrap();
/// How long to wait before `stop` is looked at.
const TICK: Duration = Duration::from_millis(20);

/// The serial console of a running domain. It is opened at the first use, and given back when this is dropped; what is
/// printed while it is not open is lost.
pub struct SerialConsole {
    hypervisor: Arc<dyn Hypervisor>,
    domain: String,
    open: Mutex<Option<Arc<Open>>>,
}

struct Open {
    console: Box<dyn Console>,
    heard: Mutex<Heard>,
    changed: Condvar,
}

/// What the console has printed.
struct Heard {
    screen: vt100::Parser,
    /// What no pattern has matched yet.
    unmatched: PlainText,
    /// How often something was printed.
    pieces: usize,
    /// Once nothing more comes: the failure, if it was one.
    end: Option<Option<Error>>,
}

/// Reads a pattern; what it matches is text without escape sequences, whose lines end in `\n`.
pub fn pattern(text: &str) -> Result<Regex> {
    Regex::new(text).map_err(|error| {
        let said = error.to_string();
        let cause = said.lines().last().unwrap_or_default().trim_start_matches("error: ").to_string();
        Error::failed(format!("{text:?} is not a regular expression"))
            .cause(cause)
            .hint(r"`.*`, `(a|b)` and `[0-9]+` are some; a \ before a sign, as in `\$`, takes it literally")
    })
}

impl SerialConsole {
    pub fn new(hypervisor: Arc<dyn Hypervisor>, domain: &str) -> Self {
        Self { hypervisor, domain: domain.to_string(), open: Mutex::default() }
    }

    /// Waits until what was printed since the last match matches a pattern. Returns the captures, or the whole match if
    /// the pattern has none. The error at the time limit has the last lines of the screen.
    pub fn expect(&self, pattern_text: &str, stop: &Stop) -> Result<Vec<Option<String>>> {
        let pattern = pattern(pattern_text)?;
        let open = self.opened()?;
        let mut heard = open.heard.lock();
        let mut seen = None;
        loop {
            if seen != Some(heard.pieces) {
                seen = Some(heard.pieces);
                if let Some(found) = heard.find(&pattern) {
                    return Ok(found);
                }
            }
            let ended = heard.end.clone();
            ended.map_or(Ok(()), |end| Err(self.closed(end))).map_err(|error| error.tail_of(&heard.screen()))?;
            let what = || format!("expect {pattern_text:?}");
            stop.check(what).map_err(|error| error.tail_of(&heard.screen()))?;
            open.changed.wait_for(&mut heard, TICK);
        }
    }

    /// Types a text, without an end of the line.
    pub fn send(&self, text: &str, stop: &Stop) -> Result<()> {
        let open = self.opened()?;
        let (sender, written) = mpsc::channel();
        let (writer, bytes) = (Arc::clone(&open), text.as_bytes().to_vec());
        // A guest that takes no more would be waited for in the call.
        std::thread::spawn(move || sender.send(writer.console.write(&bytes)));
        loop {
            match written.recv_timeout(TICK) {
                Ok(result) => {
                    result?;
                    let end = open.heard.lock().end.clone();
                    return end.map_or(Ok(()), |end| Err(self.closed(end)));
                }
                Err(RecvTimeoutError::Timeout) => stop.check(|| format!("send {text:?}"))?,
                Err(RecvTimeoutError::Disconnected) => return Err(Error::bug("what types into a console broke")),
            }
        }
    }

    /// Returns the visible text: rows without the spaces at their ends, and without the empty rows at the end.
    pub fn screen(&self) -> Result<String> {
        Ok(self.opened()?.heard.lock().screen())
    }

    /// Returns the console, opened if it is not open. One that has ended is opened again if the domain runs again;
    /// otherwise what it printed last can still be read.
    fn opened(&self) -> Result<Arc<Open>> {
        let mut open = self.open.lock();
        let old = open.clone();
        match old {
            Some(old) if old.heard.lock().end.is_none() => Ok(old),
            old => match (self.hypervisor.console(&self.domain), old) {
                (Ok(console), _) => Ok(Arc::clone(open.insert(Open::start(console)?))),
                (Err(_), Some(old)) => Ok(old),
                (Err(error), None) => Err(error),
            },
        }
    }

    fn closed(&self, why: Option<Error>) -> Error {
        why.unwrap_or_else(|| {
            Error::failed(format!("the console of `{}` has closed", self.domain)).cause("the domain has stopped")
        })
    }
}

impl Drop for SerialConsole {
    fn drop(&mut self) {
        if let Some(open) = self.open.get_mut() {
            open.console.close();
        }
    }
}

impl Open {
    /// Begins to listen, in a thread that ends with the console.
    fn start(console: Box<dyn Console>) -> Result<Arc<Self>> {
        let heard = Heard {
            screen: vt100::Parser::new(ROWS, COLUMNS, 0),
            unmatched: PlainText::default(),
            pieces: 0,
            end: None,
        };
        let open = Arc::new(Self { console, heard: Mutex::new(heard), changed: Condvar::new() });
        let listener = Arc::clone(&open);
        let started = std::thread::Builder::new().name("console".to_string()).spawn(move || listener.listen());
        started.map_err(|cause| Error::failed("cannot listen to a console").cause(cause))?;
        Ok(open)
    }

    fn listen(&self) {
        let mut buffer = [0; 4096];
        loop {
            let read = self.console.read(&mut buffer);
            let mut heard = self.heard.lock();
            match read {
                Ok(0) => heard.end = Some(None),
                Ok(length) => {
                    heard.screen.process(&buffer[..length]);
                    heard.unmatched.add(&buffer[..length]);
                    heard.pieces += 1;
                }
                Err(error) => heard.end = Some(Some(error)),
            }
            self.changed.notify_all();
            if heard.end.is_some() {
                return;
            }
        }
    }
}

impl Heard {
    /// Takes the text up to the end of the first match.
    fn find(&mut self, pattern: &Regex) -> Option<Vec<Option<String>>> {
        let captures = pattern.captures(self.unmatched.as_str())?;
        let text = |found: Option<regex::Match<'_>>| found.map(|found| found.as_str().to_string());
        let first = usize::from(captures.len() > 1);
        let found = captures.iter().skip(first).map(text).collect();
        let end = captures.get_match().end();
        self.unmatched.remove(end);
        Some(found)
    }

    fn screen(&self) -> String {
        let text = self.screen.screen().contents();
        let rows: Vec<&str> = text.lines().map(str::trim_end).collect();
        rows.join("\n").trim_end().to_string()
    }
}
