//! A step in progress: its operations are answered from a journal, or carried out in a guest and recorded.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events, Subject};
use crate::hypervisor::{CommandLine, Guest};
use crate::stop::{Interrupt, Stop};
use crate::tree::clone::checkpointer::Checkpointer;
use crate::tree::record::host_files::Inputs;
use crate::tree::record::journal::{Attempt, Entry, Journal};
use crate::tree::record::nondeterminism::shape_of;
use crate::tree::record::operation::{Bytes, Operation, Outcome, Payload, Request};
use crate::tree::record::replay::Replay;
use crate::tree::step::perform::{Heard, Told, attempt, carry_out};
use crate::tree::step::recall::{Halt, recall};

enum Source {
    Replay {
        replay: Arc<Replay>,
        /// Whether what was pulled is written to the host again.
        writes: bool,
    },
    Live(Box<Live>),
    /// There is no guest: every operation succeeds with an empty result.
    Hollow,
}

/// A step that is being carried out.
struct Live {
    subject: Subject,
    guest: Arc<dyn Guest>,
    journal: Journal,
    /// The operations that the guest's disks hold already.
    answers: Journal,
    /// The last operation, if it failed.
    attempt: Option<Attempt>,
    /// Whether the journal has everything that was done to the guest.
    is_recorded: bool,
    checkpointer: Option<Checkpointer>,
    /// Whether failed operations are recorded too, since there is no step that a failure would end.
    is_by_hand: bool,
    /// The number of leading operations with a known effect; none if all are known.
    told: Option<usize>,
}

/// The operations of one step, one at a time.
pub struct Session {
    node: String,
    source: Mutex<Source>,
    /// The number of operations when the last one ended.
    done: AtomicUsize,
    is_live: bool,
    events: Events,
    interrupt: Interrupt,
    inputs: Arc<Inputs>,
    /// Ends the whole step.
    limit: Option<Stop>,
}

impl Session {
    /// Answers operations from `journal`; no guest exists.
    pub fn replay(node: &str, journal: Journal, events: Events, interrupt: Interrupt) -> Self {
        let replay = Arc::new(Replay::of(journal));
        Self::of(node, Source::Replay { replay, writes: true }, events, interrupt)
    }

    fn of(node: &str, source: Source, events: Events, interrupt: Interrupt) -> Self {
        let is_live = matches!(source, Source::Live(_));
        let (source, done, inputs) = (Mutex::new(source), AtomicUsize::new(0), Arc::default());
        Self { node: node.to_string(), source, done, is_live, events, interrupt, inputs, limit: None }
    }

    /// Lets differences name the host files with a recorded content.
    pub fn naming(mut self, inputs: &Arc<Inputs>) -> Self {
        self.inputs = Arc::clone(inputs);
        self
    }

    /// Keeps a replay from writing files on the host.
    pub fn leaving_the_host_alone(self) -> Self {
        if let Source::Replay { writes, .. } = &mut *self.source() {
            *writes = false;
        }
        self
    }

    /// Carries operations out in `guest` and records them.
    pub fn live(subject: Subject, guest: Arc<dyn Guest>, events: Events, interrupt: Interrupt) -> Self {
        let node = subject.node.as_ref().unwrap_or(&subject.machine).clone();
        let live = Live {
            subject,
            guest,
            journal: Journal::default(),
            answers: Journal::default(),
            attempt: None,
            is_recorded: true,
            checkpointer: None,
            is_by_hand: false,
            told: None,
        };
        Self::of(&node, Source::Live(Box::new(live)), events, interrupt)
    }

    /// Answers every operation with an empty result, for a plan that reaches a machine that it may not touch.
    pub fn hollow(node: &str, events: Events, interrupt: Interrupt) -> Self {
        Self::of(node, Source::Hollow, events, interrupt)
    }

    /// Answers the first operations from the journal of what the guest's disks hold already, and enables checkpoints.
    pub fn going_on(self, answers: Journal, checkpointer: Checkpointer) -> Self {
        if let Source::Live(live) = &mut *self.source() {
            live.answers = answers;
            live.checkpointer = Some(checkpointer);
        }
        self
    }

    /// Continues after these operations interactively, one operation at a time; failed ones are recorded too.
    pub fn by_hand(self, done: Journal, told: Option<usize>, checkpointer: Checkpointer) -> Self {
        self.done.store(done.entries.len(), Ordering::SeqCst);
        if let Source::Live(live) = &mut *self.source() {
            (live.journal, live.told, live.is_by_hand) = (done, told, true);
            live.checkpointer = Some(checkpointer);
        }
        self
    }

    /// Calls `act` with the checkpointer, if there is one.
    pub fn with_checkpointer<T>(&self, act: impl FnOnce(&mut Option<Checkpointer>) -> T) -> Option<T> {
        match &mut *self.source() {
            Source::Live(live) => Some(act(&mut live.checkpointer)),
            Source::Replay { .. } | Source::Hollow => None,
        }
    }

    /// Returns how many operations there are, and whether the effect of each is known; an operation under way counts,
    /// with an unknown effect.
    pub fn standing(&self) -> (usize, bool) {
        match self.source.try_lock().as_deref() {
            Some(Source::Live(live)) => (live.journal.entries.len(), live.told.is_none()),
            Some(Source::Replay { .. } | Source::Hollow) => (0, true),
            None => (self.done.load(Ordering::SeqCst) + 1, false),
        }
    }

    /// Returns the number of leading operations with a known effect, if any later one has an unknown effect.
    pub fn told(&self) -> Option<usize> {
        match &*self.source() {
            Source::Live(live) => live.told,
            Source::Replay { .. } | Source::Hollow => None,
        }
    }

    /// Limits the time for the whole step, from now on.
    pub fn within(self, limit: Option<Duration>) -> Self {
        let limit = limit.map(|limit| Stop::after(limit, &self.interrupt));
        Self { limit, ..self }
    }

    /// Returns the time left for the whole step, if it is limited.
    pub fn left(&self) -> Option<Duration> {
        self.limit.as_ref().map(Stop::left)
    }

    /// Returns the error for a step that took too long.
    pub fn overdue(&self) -> Error {
        let limit = self.limit.as_ref().map(Stop::limit).unwrap_or_default();
        let message = format!("the step of `{}` timed out after {}", self.node, humantime::format_duration(limit));
        Error::new(Kind::Timeout, message).hint("raise the option `timeout` of the branch")
    }

    fn source(&self) -> MutexGuard<'_, Source> {
        self.source.lock()
    }

    /// Returns whether an operation is answered without a wait: from the journal, with no file to compare or write.
    pub fn answers_at_once(&self, request: &Request) -> bool {
        !self.is_live && !matches!(request.payload, Payload::Into(_))
    }

    /// Runs a shell script, which has to succeed.
    pub fn run(&self, script: &str, timeout: Duration) -> Result<()> {
        let operation = Operation::Run {
            command: CommandLine::Shell(script.to_string()),
            stdin: None,
            env: Default::default(),
            cwd: None,
            user: None,
        };
        match self.perform(&Request {
            operation,
            payload: Payload::Nothing,
            timeout,
            check: true,
            retry_on: Vec::new(),
        }) {
            Ok(_) => Ok(()),
            Err(Halt::Failed(error)) => Err(error),
            Err(Halt::Diverged(_)) => Err(Error::bug("a script was run in a replay")),
        }
    }

    /// Answers one operation. A second one waits until the first is done.
    pub fn perform(&self, request: &Request) -> Result<Outcome, Halt> {
        self.interrupt.check()?;
        match &mut *self.source() {
            Source::Replay { replay, writes } => {
                let next = replay.matched();
                let outcome = recall(&self.node, &self.inputs, replay.journal(), next, request, *writes);
                match &outcome {
                    Ok(_) => replay.answered(),
                    Err(_) => replay.missed(request.operation.clone()),
                }
                outcome
            }
            Source::Live(live) => match live.answers.entries.get(live.journal.entries.len()) {
                Some(entry) => {
                    let outcome =
                        recall(&self.node, &self.inputs, &live.answers, live.journal.entries.len(), request, true)?;
                    live.journal.entries.push(entry.clone());
                    Ok(outcome)
                }
                None => {
                    let outcome = self.carry_out(live, request);
                    self.done.store(live.journal.entries.len(), Ordering::SeqCst);
                    Ok(outcome?)
                }
            },
            Source::Hollow => Ok(Outcome::empty(&request.operation)),
        }
    }

    fn carry_out(&self, live: &mut Live, request: &Request) -> Result<Outcome> {
        let number = live.journal.entries.len() + 1;
        let operation = request.operation.to_string();
        let left = self.left().unwrap_or(request.timeout);
        if left.is_zero() {
            return Err(self.overdue());
        }
        if let Some(checkpointer) = live.checkpointer.as_mut().filter(|_| live.is_recorded || live.is_by_hand)
            && let Err(why) = checkpointer.pass(live.journal.entries.len(), live.guest.as_ref())
        {
            self.interrupt.check()?;
            // The step itself does not need them.
            self.events.note(format!("`{}` gets no checkpoints: {why}", live.subject));
        }
        let subject = live.subject.clone();
        self.events.emit(Event::OperationStarted { subject: subject.clone(), number, operation: operation.clone() });
        let started = Instant::now();
        let mut tell = |told: Told<'_>| match told {
            Told::Output(stream, bytes) => {
                self.events.emit(Event::Output { subject: subject.clone(), stream, bytes: bytes.to_vec() });
            }
            Told::Waits(why) => self.events.note(format!("`{subject}` waits and tries again: {why}")),
        };
        let mut heard = Heard::default();
        let stop = Stop::after(request.timeout.min(left), &self.interrupt);
        let outcome = carry_out(live.guest.as_ref(), &self.node, request, &mut tell, &mut heard, &stop);
        let took = started.elapsed();
        let outcome = outcome.map_err(|error| {
            live.is_recorded &= request.operation.only_looks();
            if live.is_by_hand && !request.operation.only_looks() {
                live.record_failure(request, &heard, took);
            }
            live.attempt = Some(attempt(request.operation.clone(), took, heard));
            let is_overdue = error.kind == Kind::Timeout && self.left().is_some_and(|left| left.is_zero());
            let error = if is_overdue {
                let overdue = error.causes.into_iter().fold(self.overdue().cause(&operation), Error::cause);
                Error { output: error.output, ..overdue }
            } else {
                error
            };
            self.events.emit(Event::OperationFailed {
                subject: subject.clone(),
                number,
                operation: operation.clone(),
                took,
            });
            error
        })?;
        live.attempt = None;
        self.events.emit(Event::OperationFinished { subject, number, operation, took });
        live.journal.entries.push(Entry {
            operation: request.operation.clone(),
            outcome: outcome.recorded(),
            took: took.as_millis() as u64,
            shape: shape_of(&request.payload),
        });
        Ok(outcome)
    }

    /// Describes the recorded operation that the finished step no longer asked for.
    pub fn left_over(&self) -> Option<String> {
        let source = self.source();
        let (journal, next) = match &*source {
            Source::Replay { replay, .. } => (replay.journal(), replay.matched()),
            Source::Live(live) => (&live.answers, live.journal.entries.len()),
            Source::Hollow => return None,
        };
        let entry = journal.entries.get(next)?;
        Some(format!("operation {} of {} is gone: {}", next + 1, self.node, entry.operation))
    }

    /// Returns the journal: the recorded one in a replay, otherwise the operations so far.
    pub fn journal(&self) -> Journal {
        match &*self.source() {
            Source::Replay { replay, .. } => replay.journal().clone(),
            Source::Live(live) => live.journal.clone(),
            Source::Hollow => Journal::default(),
        }
    }

    /// Returns the replay, if this is one.
    pub fn replayed(&self) -> Option<Arc<Replay>> {
        match &*self.source() {
            Source::Replay { replay, .. } => Some(Arc::clone(replay)),
            Source::Live(_) | Source::Hollow => None,
        }
    }

    /// Returns how many operations a replay has answered.
    pub fn matched(&self) -> usize {
        match &*self.source() {
            Source::Replay { replay, .. } => replay.matched(),
            Source::Live(live) => live.journal.entries.len().min(live.answers.entries.len()),
            Source::Hollow => 0,
        }
    }

    /// Returns whether a replay has answered every operation, with none left over.
    pub fn has_gone_through(&self) -> bool {
        match &*self.source() {
            Source::Replay { replay, .. } => replay.has_gone_through(),
            Source::Live(_) | Source::Hollow => false,
        }
    }

    /// Returns the operation that a replay could not answer.
    pub fn wanted(&self) -> Option<Operation> {
        match &*self.source() {
            Source::Replay { replay, .. } => replay.wanted(),
            Source::Live(_) | Source::Hollow => None,
        }
    }

    /// Returns the last operation, if it was carried out and failed.
    pub fn attempt(&self) -> Option<Attempt> {
        match &*self.source() {
            Source::Replay { .. } | Source::Hollow => None,
            Source::Live(live) => live.attempt.clone(),
        }
    }

    /// Returns whether the journal has everything that was done to the guest: no operation that could change it failed.
    pub fn is_recorded(&self) -> bool {
        match &*self.source() {
            Source::Replay { .. } | Source::Hollow => true,
            Source::Live(live) => live.is_recorded,
        }
    }
}

impl Live {
    /// Records the effect of a failed operation: a command that ended can be repeated, one that was interrupted cannot.
    fn record_failure(&mut self, request: &Request, heard: &Heard, took: Duration) {
        let ended = heard.status.filter(|_| matches!(request.operation, Operation::Run { .. }));
        let outcome = match ended {
            Some(status) => {
                let [stdout, stderr] = [&heard.stdout, &heard.stderr].map(|stream| Bytes(stream.clone()));
                Outcome::Exit { status, stdout, stderr }.recorded()
            }
            None => {
                self.told.get_or_insert(self.journal.entries.len());
                Outcome::Done
            }
        };
        let (operation, took) = (request.operation.clone(), took.as_millis() as u64);
        self.journal.entries.push(Entry { operation, outcome, took, shape: shape_of(&request.payload) });
    }
}

#[cfg(test)]
mod tests;
