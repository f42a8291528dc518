//! A step whose operations are carried out in a guest and recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::error::{Error, Kind, Result};
use crate::event::{Event, Events, Subject};
use crate::hypervisor::{CommandLine, Guest};
use crate::stop::{Interrupt, Stop};
use crate::trace;
use crate::tree::clone::checkpointer::Checkpointer;
use crate::tree::record::host_files::HostFiles;
use crate::tree::record::journal::{Attempt, Journal, JournalEntry};
use crate::tree::record::nondeterminism::shape_of;
use crate::tree::record::operation::{Bytes, Operation, Outcome, Payload, Request};
use crate::tree::serial::serial_console::SerialConsole;
use crate::tree::step::perform::{Heard, Told, attempt, carry_out};
use crate::tree::step::recall::{NoOutcome, recall};
use crate::tree::step::session::{Session, StepLimit, left_over};

/// Carries operations out in a guest and records them.
pub struct LiveSession {
    node: String,
    subject: Subject,
    guest: Arc<dyn Guest>,
    console: Option<Arc<SerialConsole>>,
    /// How long the guest is waited for before the first operation that needs it; `None` if it answers.
    patience: Mutex<Option<Duration>>,
    progress: Mutex<Progress>,
    /// The number of operations when the last one ended.
    done: AtomicUsize,
    events: Events,
    interrupt: Interrupt,
    limit: Option<StepLimit>,
    /// Whether operations run at the same time, in no order that a replay could follow.
    is_concurrent: bool,
}

/// What was done so far, and how the next operation is done.
#[derive(Default)]
struct Progress {
    journal: Journal,
    /// The operations that the guest's disks hold already.
    answers: Journal,
    /// How many operations were begun.
    begun: usize,
    /// The last operation, if it failed.
    attempt: Option<Attempt>,
    /// Whether an operation failed that may have changed the guest, so that the journal lacks some of its effect.
    is_incomplete: bool,
    checkpointer: Option<Checkpointer>,
    /// Whether failed operations are recorded too, since there is no step that a failure would end.
    is_by_hand: bool,
    /// The number of leading operations with a known effect; none if all are known.
    known: Option<usize>,
}

impl LiveSession {
    pub fn new(subject: Subject, guest: Arc<dyn Guest>, events: Events, interrupt: Interrupt) -> Self {
        let node = subject.node.as_ref().unwrap_or(&subject.machine).clone();
        let (progress, done) = (Mutex::default(), AtomicUsize::new(0));
        let (console, patience) = (None, Mutex::default());
        Self {
            node,
            subject,
            guest,
            console,
            patience,
            progress,
            done,
            events,
            interrupt,
            limit: None,
            is_concurrent: false,
        }
    }

    /// Lets operations use a console.
    pub fn with_console(self, console: Arc<SerialConsole>) -> Self {
        Self { console: Some(console), ..self }
    }

    /// Waits for a guest that may not answer yet, before the first operation that needs it.
    pub fn waiting(self, limit: Duration) -> Self {
        Self { patience: Mutex::new(Some(limit)), ..self }
    }

    /// Answers the first operations from the journal of what the guest's disks hold already, and enables checkpoints.
    pub fn resumed(mut self, answers: Journal, checkpointer: Checkpointer) -> Self {
        let progress = self.progress.get_mut();
        (progress.answers, progress.checkpointer) = (answers, Some(checkpointer));
        self
    }

    /// Continues after these operations interactively, one operation at a time; failed ones are recorded too. If the
    /// effect of some is unknown, `known` is the number of those before the first of them.
    pub fn by_hand(mut self, done: Journal, known: Option<usize>, checkpointer: Checkpointer) -> Self {
        self.done.store(done.entries.len(), Ordering::SeqCst);
        let progress = self.progress.get_mut();
        (progress.journal, progress.known, progress.is_by_hand) = (done, known, true);
        progress.checkpointer = Some(checkpointer);
        self
    }

    /// Carries out several operations at once, if they are asked for at once.
    pub fn concurrent(self) -> Self {
        Self { is_concurrent: true, ..self }
    }

    /// Limits the time for the whole step, from now on.
    pub fn within(self, limit: Option<Duration>) -> Self {
        let limit = limit.map(|limit| StepLimit::after(limit, &self.node, &self.interrupt));
        Self { limit, ..self }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock()
    }

    /// Calls `act` with the checkpointer, if there is one.
    pub fn with_checkpointer<T>(&self, act: impl FnOnce(&mut Option<Checkpointer>) -> T) -> T {
        act(&mut self.progress().checkpointer)
    }

    /// Returns how many operations there are, and whether the effect of each is known; an operation under way counts,
    /// with an unknown effect.
    pub fn standing(&self) -> (usize, bool) {
        match self.progress.try_lock() {
            Some(progress) => (progress.journal.entries.len(), progress.known.is_none()),
            None => (self.done.load(Ordering::SeqCst) + 1, false),
        }
    }

    /// Returns the number of leading operations with a known effect, if any later one has an unknown effect.
    pub fn known(&self) -> Option<usize> {
        self.progress().known
    }

    /// Returns how many operations were answered instead of carried out.
    pub fn matched(&self) -> usize {
        let progress = self.progress();
        progress.journal.entries.len().min(progress.answers.entries.len())
    }

    /// Describes the answer that the finished step no longer asked for.
    pub fn left_over(&self) -> Option<String> {
        let progress = self.progress();
        left_over(&self.node, &progress.answers, progress.journal.entries.len())
    }

    /// Returns the last operation, if it was carried out and failed.
    pub fn attempt(&self) -> Option<Attempt> {
        self.progress().attempt.clone()
    }

    /// Returns whether the journal has everything that was done to the guest: no operation that could change it failed.
    pub fn is_recorded(&self) -> bool {
        !self.progress().is_incomplete
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
            Err(NoOutcome::Failed(error)) => Err(error),
            Err(NoOutcome::Diverged(_)) => Err(Error::bug("a script was run in a replay")),
        }
    }

    fn carry_out(&self, progress: &mut MutexGuard<'_, Progress>, request: &Request) -> Result<Outcome> {
        if !request.operation.is_on_console() {
            self.wait_for_guest()?;
        }
        let left = self.limit.as_ref().map_or(request.timeout, StepLimit::left);
        if let Some(limit) = self.limit.as_ref().filter(|_| left.is_zero()) {
            return Err(limit.overdue());
        }
        self.checkpoint(progress)?;
        let subject = self.subject.clone();
        progress.begun += 1;
        let number = if self.is_concurrent { progress.begun } else { progress.journal.entries.len() + 1 };
        let operation = request.operation.to_string();
        self.events.emit(Event::OperationStarted { subject: subject.clone(), number, operation: operation.clone() });
        let _span = trace::span_of("operation", || operation.clone());
        let started = Instant::now();
        let mut heard = Heard::default();
        let stop = Stop::after(request.timeout.min(left), &self.interrupt);
        let mut tell = |told: Told<'_>| self.tell(told);
        let mut act = || {
            carry_out(self.guest.as_ref(), self.console.as_deref(), &self.node, request, &mut tell, &mut heard, &stop)
        };
        let outcome = if self.is_concurrent { MutexGuard::unlocked(progress, act) } else { act() };
        let took = started.elapsed();
        match outcome {
            Ok(outcome) => {
                progress.attempt = None;
                progress.record(request, outcome.recorded(), took);
                self.events.emit(Event::OperationFinished { subject, number, operation, took });
                Ok(outcome)
            }
            Err(error) => {
                progress.fail(request, heard, took);
                let error = self.explained(error, &operation);
                self.events.emit(Event::OperationFailed { subject, number, operation, took });
                Err(error)
            }
        }
    }

    fn wait_for_guest(&self) -> Result<()> {
        let mut patience = self.patience.lock();
        if let Some(limit) = *patience {
            self.guest.wait_until_ready(&Stop::after(limit, &self.interrupt))?;
            *patience = None;
        }
        Ok(())
    }

    /// Takes a checkpoint if one is due.
    fn checkpoint(&self, progress: &mut Progress) -> Result<()> {
        let operations = progress.journal.entries.len();
        // What was done on the console is in no state of a disk.
        let is_on_console = || progress.journal.entries.iter().any(|entry| entry.operation.is_on_console());
        let is_possible = progress.is_by_hand || !progress.is_incomplete && !is_on_console();
        if let Some(checkpointer) = progress.checkpointer.as_mut().filter(|_| is_possible)
            && let Err(why) = checkpointer.pass(operations, self.guest.as_ref())
        {
            self.interrupt.check()?;
            // The step itself does not need them.
            self.events.note(format!("`{}` gets no checkpoints: {why}", self.subject));
        }
        Ok(())
    }

    fn tell(&self, told: Told<'_>) {
        match told {
            Told::Output(stream, bytes) => {
                self.events.emit(Event::Output { subject: self.subject.clone(), stream, bytes: bytes.to_vec() });
            }
            Told::Waits(why) => self.events.note(format!("`{}` waits and tries again: {why}", self.subject)),
        }
    }

    /// Returns the step's own error if its time limit ended the operation.
    fn explained(&self, error: Error, operation: &str) -> Error {
        let passed = self.limit.as_ref().filter(|limit| error.kind == Kind::Timeout && limit.left().is_zero());
        let Some(limit) = passed else { return error };
        let overdue = error.causes.into_iter().fold(limit.overdue().cause(operation), Error::cause);
        Error { output: error.output, ..overdue }
    }
}

impl Session for LiveSession {
    fn perform(&self, request: &Request) -> Result<Outcome, NoOutcome> {
        self.interrupt.check()?;
        let mut progress = self.progress();
        let next = progress.journal.entries.len();
        if let Some(entry) = progress.answers.entries.get(next).cloned() {
            let outcome = recall(&self.node, &HostFiles::default(), &progress.answers, next, request, true)?;
            progress.journal.entries.push(entry);
            return Ok(outcome);
        }
        let outcome = self.carry_out(&mut progress, request);
        self.done.store(progress.journal.entries.len(), Ordering::SeqCst);
        Ok(outcome?)
    }

    fn answers_at_once(&self, _: &Request) -> bool {
        false
    }

    fn journal(&self) -> Journal {
        self.progress().journal.clone()
    }

    fn limit(&self) -> Option<&StepLimit> {
        self.limit.as_ref()
    }
}

impl Progress {
    fn record(&mut self, request: &Request, outcome: Outcome, took: Duration) {
        let (operation, took) = (request.operation.clone(), took.as_millis() as u64);
        self.journal.entries.push(JournalEntry { operation, outcome, took, shape: shape_of(&request.payload) });
    }

    /// Notes a failed operation; one by hand is recorded too, if it may have changed the guest.
    fn fail(&mut self, request: &Request, heard: Heard, took: Duration) {
        if !request.operation.only_looks() {
            self.is_incomplete = true;
            if self.is_by_hand {
                self.record_failure(request, &heard, took);
            }
        }
        self.attempt = Some(attempt(request.operation.clone(), took, heard));
    }

    /// Records the effect of a failed operation: a command that ended can be repeated, one that was interrupted cannot.
    fn record_failure(&mut self, request: &Request, heard: &Heard, took: Duration) {
        let ended = heard.status.filter(|_| matches!(request.operation, Operation::Run { .. }));
        let outcome = match ended {
            Some(status) => {
                let [stdout, stderr] = [&heard.stdout, &heard.stderr].map(|stream| Bytes(stream.clone()));
                Outcome::Exit { status, stdout, stderr }.recorded()
            }
            None => {
                self.known.get_or_insert(self.journal.entries.len());
                Outcome::Done
            }
        };
        self.record(request, outcome, took);
    }
}
