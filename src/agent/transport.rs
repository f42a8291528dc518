//! What carries the agent's messages.

use std::fmt;
use std::time::Duration;

/// A way to send one JSON message to a guest's agent and get its answer.
pub trait Transport: Send + Sync {
    /// Sends `json` and returns the agent's whole answer, at most `timeout` later.
    /// Messages stay below 4 MiB in both directions.
    fn command(&self, json: &str, timeout: Duration) -> Result<String, TransportError>;

    /// Opens another port of the guest by its name, if the domain has it and a process in the guest waits there.
    fn port(&self, _name: &str) -> Result<Option<Box<dyn Port>>, TransportError> {
        Ok(None)
    }
}

/// A line of bytes to a process in a guest; dropping it hangs up.
pub trait Port: Send {
    /// Sends some of `bytes`, without waiting; returns how many, which is 0 while the line accepts no more.
    fn send(&mut self, bytes: &[u8]) -> Result<usize, TransportError>;

    /// Takes some of what has arrived, without waiting for it; 0 bytes at the end of the line.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, TransportError>;
}

/// Why a message got no proper answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportError {
    /// The agent is not there yet, is gone, or does not answer in time.
    NotConnected(String),
    /// The domain is gone or does not run.
    Gone(String),
    /// The agent refused the command.
    Agent {
        class: String,
        desc: String,
    },
    Other(String),
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransportError::NotConnected(text) | TransportError::Gone(text) | TransportError::Other(text) => {
                f.write_str(text)
            }
            TransportError::Agent { desc, .. } => f.write_str(desc),
        }
    }
}
