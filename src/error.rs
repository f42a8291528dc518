//! The one error type: what failed, why, and how to fix it.

use std::any::Any;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// The kind of failure, which decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The script, a step or a request failed.
    Failed,
    /// The request itself was wrong.
    Usage,
    /// No hypervisor answers.
    Unavailable,
    /// A promise inside snaptree was broken.
    Bug,
    /// A time limit passed.
    Timeout,
    /// The user stopped it.
    Interrupted,
}

impl Kind {
    pub fn exit_code(self) -> i32 {
        match self {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Unavailable => 69,
            Kind::Bug => 70,
            Kind::Timeout => 124,
            Kind::Interrupted => 130,
        }
    }
}

/// What a script gets when it catches an error, apart from the error's text.
#[derive(Clone)]
pub enum Raised {
    /// The value that the script raised; only the room that runs scripts can read it.
    Value(Arc<dyn Any + Send + Sync>),
    /// Every error that happened at the same time.
    Together(Arc<Vec<Error>>),
}

impl fmt::Debug for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raised::Value(_) => f.write_str("Value"),
            Raised::Together(errors) => f.debug_tuple("Together").field(errors).finish(),
        }
    }
}

/// A failure with its name, its causes and a hint.
#[derive(Clone, Debug)]
pub struct Error {
    pub kind: Kind,
    pub message: String,
    /// The causes, nearest first.
    pub causes: Vec<String>,
    /// The last lines of a failed command's output.
    pub output: Vec<String>,
    pub hint: Option<String>,
    /// Where in the user's script it happened: `script.lua:12`.
    pub location: Option<String>,
    /// The rest of the user's own frames, innermost first.
    pub traceback: Vec<String>,
    /// Other errors at the same time.
    pub others: Vec<Error>,
    /// The script's value for it, if that is not the error itself.
    pub raised: Option<Raised>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            causes: Vec::new(),
            output: Vec::new(),
            hint: None,
            location: None,
            traceback: Vec::new(),
            others: Vec::new(),
            raised: None,
        }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Kind::Bug, message).hint("this is a bug in snaptree; please report it with what led to it")
    }

    pub fn interrupted() -> Self {
        Self::new(Kind::Interrupted, "interrupted")
    }

    /// Reports several failures as one, in the given order; none if there are none.
    pub fn together(errors: Vec<Error>) -> Option<Self> {
        let (first, others) = errors.split_first()?;
        let mut whole = first.clone();
        if !others.is_empty() {
            // Others that waited for a failed one may have raised its error again.
            let mut told = HashSet::from([first.to_string()]);
            whole.others.extend(others.iter().filter(|other| told.insert(other.to_string())).cloned());
            whole.raised = Some(Raised::Together(Arc::new(errors)));
        }
        Some(whole)
    }

    /// Adds the cause of everything so far.
    pub fn cause(mut self, cause: impl fmt::Display) -> Self {
        self.causes.push(said(&cause.to_string()).to_string());
        self
    }

    /// Adds another error with its own causes, and its hint if there is none yet.
    pub fn caused_by(self, error: Error) -> Self {
        let hint = self.hint.clone().or(error.hint);
        let mut caused = error.causes.into_iter().fold(self.cause(error.message), Self::cause);
        caused.hint = hint;
        caused
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Keeps the last `LINES` lines of `output`, which show why a command failed.
    pub fn tail_of(mut self, output: &str) -> Self {
        const LINES: usize = 12;
        let lines: Vec<&str> = output.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        self.output = lines[lines.len().saturating_sub(LINES)..].iter().map(|line| line.to_string()).collect();
        self
    }
}

/// Returns the system's message without the error number that Rust appends, which does not help the reader.
pub fn said(cause: &str) -> &str {
    cause.rsplit_once(" (os error ").filter(|(_, number)| number.ends_with(')')).map_or(cause, |(said, _)| said)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        write!(f, "{}", self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        for line in &self.output {
            write!(f, "\n  | {line}")?;
        }
        if !self.traceback.is_empty() {
            write!(f, "\n  called from {}", self.traceback.join(", "))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        self.others.iter().try_for_each(|other| write!(f, "\nerror: {other}"))
    }
}

impl std::error::Error for Error {}

/// Turns a foreign error into the cause of one of ours.
pub trait Because<T> {
    fn because(self, message: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Because<T> for std::result::Result<T, E> {
    fn because(self, message: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| Error::failed(message()).cause(cause))
    }
}
