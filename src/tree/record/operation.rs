//! What a step can do to a guest, and the outcome.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::hypervisor::{CommandLine, FileMode};
use crate::tree::archive::listing::Listing;

/// The digest and the size of some bytes that went into a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// BLAKE3, in hex.
    pub digest: String,
    pub size: u64,
}

impl Content {
    pub fn of(bytes: &[u8]) -> Self {
        Self { digest: blake3::hash(bytes).to_hex().to_string(), size: bytes.len() as u64 }
    }

    pub fn of_file(path: &std::path::Path) -> std::io::Result<Self> {
        let mut hasher = blake3::Hasher::new();
        let size = std::io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
        Ok(Self { digest: hasher.finalize().to_hex().to_string(), size })
    }

    /// Returns the digest of a directory and the size of what is in it.
    pub fn of_directory(listing: &Listing) -> Self {
        Self { digest: listing.digest(), size: listing.size() }
    }

    fn short(&self) -> &str {
        self.digest.get(..8).unwrap_or(&self.digest)
    }
}

/// One operation with everything that decides its effect, and nothing else: no time limits and no host paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Operation {
    Run {
        command: CommandLine,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stdin: Option<Content>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cwd: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
    },
    Write {
        path: String,
        content: Content,
        #[serde(default)]
        mode: FileMode,
    },
    /// A file; or a directory, if it is pulled.
    Read {
        path: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        exclude: Vec<String>,
        /// Whether modes and owners are kept.
        #[serde(default, skip_serializing_if = "is_false")]
        preserve: bool,
    },
    /// A directory of the host, with everything in it.
    Push {
        path: String,
        tree: Content,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<String>,
        /// Whether modes and owners are kept, which are then part of the digest.
        #[serde(default, skip_serializing_if = "is_false")]
        preserve: bool,
    },
    /// The same, of which only what differs is sent.
    SyncDir {
        path: String,
        tree: Content,
        /// Whether everything else is deleted in the guest, apart from what is excluded.
        #[serde(default, skip_serializing_if = "is_false")]
        delete: bool,
        /// What is left alone while other things are deleted.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        exclude: Vec<String>,
    },
    WaitForUnit {
        unit: String,
    },
    WaitForPort {
        port: u16,
    },
    WaitForFile {
        path: String,
    },
    WaitUntilSucceeds {
        command: CommandLine,
    },
    /// A regular expression that has to match what the serial console prints.
    Expect {
        pattern: String,
    },
    /// What is typed into the serial console.
    Send {
        text: String,
    },
    Screen,
    Reboot,
    Sync,
    Time,
    Info,
}

impl Operation {
    /// Returns whether it uses the serial console and not the guest's agent.
    pub fn is_on_console(&self) -> bool {
        matches!(self, Self::Expect { .. } | Self::Send { .. } | Self::Screen)
    }

    /// Returns whether it only reads, so that the guest is the same afterwards, even if it failed.
    pub fn only_looks(&self) -> bool {
        match self {
            Self::Read { .. } | Self::WaitForUnit { .. } | Self::WaitForPort { .. } | Self::WaitForFile { .. } => true,
            Self::Expect { .. } | Self::Screen | Self::Sync | Self::Time | Self::Info => true,
            Self::Run { .. } | Self::Write { .. } | Self::Push { .. } | Self::SyncDir { .. } => false,
            Self::WaitUntilSucceeds { .. } | Self::Send { .. } | Self::Reboot => false,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { command, stdin, env, cwd, user } => {
                write!(f, "run {}", Quoted(command))?;
                if let Some(user) = user {
                    write!(f, " as {user}")?;
                }
                if let Some(cwd) = cwd {
                    write!(f, " in {cwd}")?;
                }
                for (name, value) in env {
                    write!(f, " {name}={value:?}")?;
                }
                match stdin {
                    Some(content) => write!(f, " < {} bytes ({})", content.size, content.short()),
                    None => Ok(()),
                }
            }
            Self::Write { path, content, mode } => {
                write!(f, "write {path}, {} bytes ({})", content.size, content.short())?;
                if let Some(mode) = mode.mode {
                    write!(f, " mode {mode:o}")?;
                }
                match &mode.owner {
                    Some(owner) => write!(f, " owner {owner}"),
                    None => Ok(()),
                }
            }
            Self::Read { path, exclude, preserve } => {
                write!(f, "read {path}")?;
                without(f, exclude)?;
                if *preserve { f.write_str(" with owners and modes") } else { Ok(()) }
            }
            Self::Push { path, tree, owner, preserve } => {
                write!(f, "push directory {path}, {} bytes ({})", tree.size, tree.short())?;
                if let Some(owner) = owner {
                    write!(f, " owner {owner}")?;
                }
                if *preserve { f.write_str(" with owners and modes") } else { Ok(()) }
            }
            Self::SyncDir { path, tree, delete, exclude } => {
                write!(f, "sync directory {path}, {} bytes ({})", tree.size, tree.short())?;
                if *delete {
                    f.write_str(" deleting the rest")?;
                }
                without(f, exclude)
            }
            Self::WaitForUnit { unit } => write!(f, "wait for unit {unit}"),
            Self::WaitForPort { port } => write!(f, "wait for port {port}"),
            Self::WaitForFile { path } => write!(f, "wait for file {path}"),
            Self::WaitUntilSucceeds { command } => write!(f, "wait until {} succeeds", Quoted(command)),
            Self::Expect { pattern } => write!(f, "expect {pattern:?}"),
            Self::Send { text } => write!(f, "send {text:?}"),
            Self::Screen => f.write_str("read the screen"),
            Self::Reboot => f.write_str("reboot"),
            Self::Sync => f.write_str("sync"),
            Self::Time => f.write_str("read the clock"),
            Self::Info => f.write_str("read the system's description"),
        }
    }
}

fn without(f: &mut fmt::Formatter<'_>, exclude: &[String]) -> fmt::Result {
    exclude.iter().enumerate().try_for_each(|(n, pattern)| {
        let before = if n == 0 { " without" } else { "," };
        write!(f, "{before} {pattern:?}")
    })
}

fn is_false(it: &bool) -> bool {
    !it
}

/// A command as a person would type it, on one line.
pub struct Quoted<'a>(pub &'a CommandLine);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            CommandLine::Shell(line) => write!(f, "{:?}", line.trim()),
            CommandLine::Argv(argv) => {
                f.write_str("{")?;
                for (n, word) in argv.iter().enumerate() {
                    write!(f, "{}{word:?}", if n == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}

/// Bytes that JSON can carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Bytes(pub Vec<u8>);

impl From<Bytes> for String {
    fn from(bytes: Bytes) -> Self {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(bytes.0)
    }
}

impl TryFrom<String> for Bytes {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.decode(text).map(Self)
    }
}

/// The outcome of an operation, as the script saw it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done,
    Exit {
        status: i32,
        stdout: Bytes,
        stderr: Bytes,
    },
    Content(Bytes),
    /// The captures of a pattern, or the whole match if it has none.
    Matched(Vec<Option<String>>),
    /// A directory that was pulled, as a tar archive.
    Directory(Bytes),
    /// A few letters of the digest of each entry of a directory that went into a guest, by path. They only name what
    /// changed later.
    Pushed(BTreeMap<String, String>),
    Clock(f64),
    Facts(BTreeMap<String, String>),
    /// A result of `size` bytes, more than a journal keeps. The content of a host file is identified by its digest.
    Unrecorded {
        size: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        digest: Option<String>,
    },
}

/// The most bytes of one result that a journal keeps.
pub const RESULT_LIMIT: usize = 1 << 20;

impl Outcome {
    /// Returns the outcome of an operation that does nothing and succeeds.
    pub fn empty(operation: &Operation) -> Self {
        let nothing = || Bytes(Vec::new());
        match operation {
            Operation::Run { .. } => Self::Exit { status: 0, stdout: nothing(), stderr: nothing() },
            Operation::Read { .. } | Operation::Screen => Self::Content(nothing()),
            Operation::Expect { .. } => Self::Matched(vec![Some(String::new())]),
            Operation::Time => Self::Clock(0.0),
            Operation::Info => Self::Facts(BTreeMap::new()),
            _ => Self::Done,
        }
    }

    /// Returns this outcome as a journal keeps it.
    pub fn recorded(&self) -> Outcome {
        let size = match self {
            Self::Exit { stdout, stderr, .. } => stdout.0.len() + stderr.0.len(),
            Self::Content(content) | Self::Directory(content) => content.0.len(),
            Self::Matched(captures) => captures.iter().flatten().map(String::len).sum(),
            _ => 0,
        };
        if size <= RESULT_LIMIT { self.clone() } else { Self::Unrecorded { size: size as u64, digest: None } }
    }
}

/// An operation with everything needed to carry it out.
#[derive(Clone, Debug)]
pub struct Request {
    pub operation: Operation,
    pub payload: Payload,
    pub timeout: Duration,
    /// Whether a status other than 0 is a failure.
    pub check: bool,
    /// Output of a failed command that means it has to be run again later.
    pub retry_on: Vec<String>,
}

/// The bytes of an operation, or their file on the host.
#[derive(Clone, Debug)]
pub enum Payload {
    Nothing,
    Bytes(Vec<u8>),
    /// The host file to be sent.
    From(PathBuf),
    /// The host file or directory to be written.
    Into(PathBuf),
    /// The host directory to be sent.
    Directory(Arc<Listing>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_reads_like_what_was_typed() {
        let run = Operation::Run {
            command: CommandLine::Shell("echo \"hi\"\n".into()),
            stdin: Some(Content::of(b"in")),
            env: BTreeMap::from([("A".to_string(), "b c".to_string())]),
            cwd: Some("/tmp".into()),
            user: Some("nobody".into()),
        };
        assert_eq!(run.to_string(), r#"run "echo \"hi\"" as nobody in /tmp A="b c" < 2 bytes (626e44fe)"#);
        let argv = CommandLine::Argv(vec!["mysql".into(), "-e".into(), "select 1".into()]);
        assert_eq!(Quoted(&argv).to_string(), r#"{"mysql", "-e", "select 1"}"#);
    }

    #[test]
    fn a_result_past_the_limit_is_only_named() {
        let big = Outcome::Content(Bytes(vec![0; RESULT_LIMIT + 1]));
        assert_eq!(big.recorded(), Outcome::Unrecorded { size: RESULT_LIMIT as u64 + 1, digest: None });
        let small = Outcome::Content(Bytes(vec![0; RESULT_LIMIT]));
        assert_eq!(small.recorded(), small);
    }
}
