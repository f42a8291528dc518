//! Answers an operation in a replay, or explains why it cannot.

use crate::error::{Because, Error, Result};
use crate::tree::record::difference::difference;
use crate::tree::record::host_files::HostFiles;
use crate::tree::record::journal::Journal;
use crate::tree::record::nondeterminism::differ_by_chance;
use crate::tree::record::operation::{Content, Outcome, Payload, RESULT_LIMIT, Request};
use crate::tree::record::reason::Reason;
use crate::tree::step::directories::Pull;

/// Why an operation gave no outcome.
#[derive(Debug)]
pub enum NoOutcome {
    /// The journal differs here, for this reason; the step has to be carried out.
    Diverged(Reason),
    Failed(Error),
}

impl From<Error> for NoOutcome {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Answers an operation of the step of `node` from the `next` entry of a journal.
pub fn recall(
    node: &str,
    inputs: &HostFiles,
    journal: &Journal,
    next: usize,
    request: &Request,
    writes: bool,
) -> Result<Outcome, NoOutcome> {
    let operation = format!("operation {} of {}", next + 1, node);
    let diverged = |why: String| Err(NoOutcome::Diverged(Reason::Changed(why)));
    let Some(entry) = journal.entries.get(next) else {
        return diverged(format!("{operation} is new: {}", request.operation));
    };
    if entry.operation != request.operation {
        let later = journal.entries[next..].iter().position(|later| later.operation == request.operation);
        return diverged(match later {
            // Whether the step asks for the skipped one later cannot be known without a machine.
            Some(later) => format!(
                "{operation}: {} was operation {}, and {} is gone or comes later",
                request.operation,
                next + later + 1,
                entry.operation
            ),
            None => {
                let because = format!("{operation}: {}", difference(entry, request, inputs));
                if differ_by_chance(entry, request) {
                    let operation = request.operation.to_string();
                    return Err(NoOutcome::Diverged(Reason::Chance { because, number: next + 1, operation }));
                }
                because
            }
        });
    }
    match (&entry.outcome, &request.payload) {
        (Outcome::Exit { status, .. }, _) if request.check && *status != 0 => {
            diverged(format!("{operation} had exit status {status}, which is a failure now: {}", entry.operation))
        }
        (Outcome::Content(content), Payload::Into(path)) => {
            if !writes || std::fs::read(path).is_ok_and(|present| present == content.0) {
                return Ok(entry.outcome.clone());
            }
            std::fs::write(path, &content.0).because(|| format!("cannot write `{}`", path.display()))?;
            Ok(entry.outcome.clone())
        }
        (Outcome::Directory(archive), Payload::Into(path)) => {
            if let Some(pull) = Pull::of(&entry.operation, path).filter(|_| writes) {
                pull.restore(&archive.0)?;
            }
            Ok(entry.outcome.clone())
        }
        (Outcome::Unrecorded { digest: Some(digest), .. }, Payload::Into(path)) => {
            let present = match Pull::of(&entry.operation, path).filter(|_| path.is_dir()) {
                Some(pull) => pull.digest().ok(),
                None => Content::of_file(path).ok().map(|present| present.digest),
            };
            if present.as_ref() == Some(digest) {
                return Ok(entry.outcome.clone());
            }
            diverged(format!("{operation}: {} has to write `{}` again", entry.operation, path.display()))
        }
        (Outcome::Unrecorded { size, .. }, _) => diverged(format!(
            "{operation}: {} gave {size} bytes, more than the {RESULT_LIMIT} that a journal keeps",
            entry.operation
        )),
        _ => Ok(entry.outcome.clone()),
    }
}
