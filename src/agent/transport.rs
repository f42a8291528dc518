//! What carries the agent's messages.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use crate::channel::Port;

/// A way to send one JSON message to a guest's agent and get its answer.
pub trait Transport: Send + Sync + 'static {
    /// Sends `json` and returns the agent's whole answer, at most `timeout` later.
    /// Messages stay below 4 MiB in both directions.
    fn command(&self, json: &str, timeout: Duration) -> Result<String, TransportError>;

    /// Opens the guest's port for our program, if a process in the guest waits there.
    fn port(&self) -> Result<Ported, TransportError> {
        Ok(Ported::None("the domain has no port for it".to_string()))
    }

    /// Makes an empty file for [`attach`](Transport::attach); says why not.
    fn scratch(&self) -> Result<Scratch, String> {
        Err("there is no way to attach disks".to_string())
    }

    /// Attaches a file as a raw disk; says why not.
    fn attach(&self, _scratch: &Scratch, _is_read_only: bool) -> Result<Box<dyn AttachedDisk>, String> {
        Err("there is no way to attach disks".to_string())
    }
}

/// A file that is attached as a raw disk for one copy, and removed afterwards.
pub struct Scratch {
    pub file: File,
    pub path: PathBuf,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A disk that a running guest has got; dropping it takes the disk away again, and waits until it is gone.
pub trait AttachedDisk {
    /// By which the guest finds it: letters, digits and hyphens.
    fn serial(&self) -> &str;
}

/// What a look at the port found.
pub enum Ported {
    Open(Box<dyn Port>),
    /// No process in the guest waits there.
    Unattended,
    /// There is no use in looking again; this is why.
    None(String),
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
