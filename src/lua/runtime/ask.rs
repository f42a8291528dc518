//! The requests of a prompt, which run on a thread of their own and are answered by the thread of the Lua state.

use std::sync::{Arc, mpsc};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::error::{Error, Result};

pub type Reply<T> = mpsc::Sender<T>;

pub enum Ask {
    /// The current place, for the prompt.
    Place(Reply<String>),
    /// The result of a line, or of several that belong together.
    Line(String, Reply<Result<Answer>>),
    /// What could come at a place in a line.
    Complete { line: String, at: usize, reply: Reply<Completion> },
    /// A short hint about what is being typed.
    Hint { line: String, at: usize, reply: Reply<Option<String>> },
}

/// The result of a line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The text to print, if any.
    pub text: Option<String>,
    /// Whether this was the last line.
    pub leaves: bool,
}

/// What could replace the text from a place up to the cursor.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Completion {
    pub start: usize,
    pub candidates: Vec<String>,
}

/// Opens a prompt on a script that has failed, with its error.
pub type Door = Arc<dyn Fn(&Error) -> Asks + Send + Sync>;

/// The asking end. When it is dropped, the prompt ends.
#[derive(Clone)]
pub struct Asker(UnboundedSender<Ask>);

/// The answering end.
pub struct Asks(UnboundedReceiver<Ask>);

/// Returns the two ends of a conversation.
pub fn conversation() -> (Asker, Asks) {
    let (sender, receiver) = unbounded_channel();
    (Asker(sender), Asks(receiver))
}

impl Asker {
    fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Option<T> {
        let (reply, answer) = mpsc::channel();
        self.0.send(ask(reply)).ok()?;
        answer.recv().ok()
    }

    pub fn place(&self) -> Option<String> {
        self.ask(Ask::Place)
    }

    pub fn line(&self, line: &str) -> Result<Answer> {
        let answer = self.ask(|reply| Ask::Line(line.to_string(), reply));
        // The answering end is gone; only a signal ends it.
        answer.unwrap_or_else(|| Err(Error::interrupted()))
    }

    pub fn complete(&self, line: &str, at: usize) -> Completion {
        self.ask(|reply| Ask::Complete { line: line.to_string(), at, reply }).unwrap_or_default()
    }

    pub fn hint(&self, line: &str, at: usize) -> Option<String> {
        self.ask(|reply| Ask::Hint { line: line.to_string(), at, reply }).flatten()
    }
}

impl Asks {
    pub async fn next(&mut self) -> Option<Ask> {
        self.0.recv().await
    }
}
