use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::event::{Events, Subject};
use crate::hypervisor::{
    Command, CommandLine, Connections, Console, Exit, FileMode, Guest, GuestEntry, Input, PathKind, Signals, Stream,
    UnitState, UnpackOptions, UnpackTarget,
};
use crate::name::MachineName;
use crate::stop::{Interrupt, Stop};
use crate::tree::clone::checkpointer::Checkpointer;
use crate::tree::record::journal::{Journal, JournalEntry};
use crate::tree::record::operation::{Bytes, Operation, Outcome, Payload, Request};
use crate::tree::step::hollow_session::HollowSession;
use crate::tree::step::live_session::LiveSession;
use crate::tree::step::recall::NoOutcome;
use crate::tree::step::replay_session::ReplaySession;
use crate::tree::step::session::Session;

fn run(line: &str) -> Operation {
    Operation::Run {
        command: CommandLine::Shell(line.into()),
        stdin: None,
        env: Default::default(),
        cwd: None,
        user: None,
    }
}

fn request(operation: Operation, check: bool) -> Request {
    Request { operation, payload: Payload::Nothing, timeout: Duration::from_secs(1), check, retry_on: Vec::new() }
}

fn exit(status: i32) -> Outcome {
    Outcome::Exit { status, stdout: Bytes(b"out".to_vec()), stderr: Bytes(Vec::new()) }
}

fn journal(entries: Vec<(Operation, Outcome)>) -> Journal {
    let entry = |(operation, outcome)| JournalEntry { operation, outcome, took: 1, shape: None };
    Journal { entries: entries.into_iter().map(entry).collect(), ..Journal::default() }
}

fn session(entries: Vec<(Operation, Outcome)>) -> ReplaySession {
    ReplaySession::new("n", journal(entries), Interrupt::default())
}

fn divergence(session: &ReplaySession, request: &Request) -> String {
    match session.perform(request) {
        Err(NoOutcome::Diverged(reason)) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_matching_operation_is_answered_from_the_journal() {
    let session = session(vec![(run("a"), exit(0))]);
    assert!(!session.replay().has_gone_through());
    assert_eq!(session.perform(&request(run("a"), true)).unwrap(), exit(0));
    assert_eq!(session.left_over(), None);
    assert!(session.replay().has_gone_through());
    divergence(&session, &request(run("b"), true));
    assert_eq!((session.replay().has_gone_through(), session.matched(), session.wanted()), (false, 1, Some(run("b"))));
}

#[test]
fn each_way_to_diverge_is_named() {
    let first = |operation, outcome| session(vec![(operation, outcome)]);
    assert_eq!(divergence(&first(run("a"), exit(0)), &request(run("b"), true)), r#"operation 1 of n: run "b" was "a""#);
    assert_eq!(divergence(&session(vec![]), &request(run("b"), true)), r#"operation 1 of n is new: run "b""#);
    assert_eq!(
        divergence(&first(run("a"), exit(3)), &request(run("a"), true)),
        r#"operation 1 of n had exit status 3, which is a failure now: run "a""#
    );
    let read = Operation::Read { path: "/big".into(), exclude: Vec::new(), preserve: false };
    assert_eq!(
        divergence(&first(read.clone(), Outcome::Unrecorded { size: 9, digest: None }), &request(read, true)),
        "operation 1 of n: read /big gave 9 bytes, more than the 1048576 that a journal keeps"
    );
    assert_eq!(first(run("a"), exit(0)).left_over().unwrap(), r#"operation 1 of n is gone: run "a""#);
}

#[test]
fn a_replayed_pull_writes_the_host_file_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pulled");
    let read = Operation::Read { path: "/x".into(), exclude: Vec::new(), preserve: false };
    let session = session(vec![(read.clone(), Outcome::Content(Bytes(b"\0\xff".to_vec())))]);
    let pull = Request { payload: Payload::Into(path.clone()), ..request(read, true) };
    session.perform(&pull).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"\0\xff");
}

#[test]
fn a_replay_can_leave_the_host_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pulled");
    let read = Operation::Read { path: "/x".into(), exclude: Vec::new(), preserve: false };
    let session = session(vec![(read.clone(), Outcome::Content(Bytes(b"x".to_vec())))]).leaving_the_host_alone();
    let pull = Request { payload: Payload::Into(path.clone()), ..request(read, true) };
    assert!(!session.answers_at_once(&pull));
    session.perform(&pull).unwrap();
    assert!(!path.exists());
}

#[test]
fn a_hollow_session_answers_everything_with_nothing() {
    let session = HollowSession::new(Interrupt::default());
    let done = session.perform(&request(run("a"), true)).unwrap();
    assert_eq!(done, Outcome::empty(&run("a")));
    assert_eq!(session.journal(), Journal::default());
}

#[test]
fn every_session_ends_at_an_interrupt() {
    let interrupt = Interrupt::default();
    interrupt.raise();
    let replay = ReplaySession::new("n", journal(vec![(run("a"), exit(0))]), interrupt.clone());
    let live = LiveSession::new(subject(), Arc::new(Shell), Events::none(), interrupt.clone());
    let sessions: [&dyn Session; 3] = [&replay, &live, &HollowSession::new(interrupt)];
    for session in sessions {
        assert_eq!(failure(session.perform(&request(run("a"), true))).kind, Kind::Interrupted);
    }
}

/// A guest whose commands print their line, and exit with the status that follows `exit `.
struct Shell;

impl Guest for Shell {
    fn run(&self, command: &Command, output: &mut dyn FnMut(Stream, &[u8]), _: &Stop) -> Result<Exit> {
        let CommandLine::Shell(line) = &command.line else { panic!("{:?}", command.line) };
        if line == "hang" {
            return Err(Error::new(Kind::Timeout, "it hangs"));
        }
        output(Stream::Stdout, b"out");
        Ok(Exit(line.strip_prefix("exit ").map_or(0, |status| status.parse().unwrap())))
    }

    fn read(&self, path: &str, _: &mut dyn Write, _: &Stop) -> Result<u64> {
        Err(Error::failed(format!("no file {path}")))
    }

    fn terminal(&self, _: &Command, _: u16, _: u16, _: &Stop) -> Result<Result<Box<dyn Console>, String>> {
        unreachable!()
    }

    fn run_with_input(
        &self,
        _: &Command,
        _: &Input,
        _: &Signals,
        _: &mut dyn FnMut(Stream, &[u8]),
        _: &Stop,
    ) -> Result<Exit> {
        unreachable!()
    }

    fn write(&self, _: &str, _: &mut dyn Read, _: &FileMode, _: &Stop) -> Result<u64> {
        unreachable!()
    }

    fn kind_of(&self, _: &str, _: &Stop) -> Result<PathKind> {
        Ok(PathKind::Missing)
    }

    fn pack(&self, _: &str, _: &str, _: &mut dyn Write, _: &Stop) -> Result<()> {
        unreachable!()
    }

    fn unpack_target(&self, _: &str, _: Option<&str>, _: &Stop) -> Result<UnpackTarget> {
        unreachable!()
    }

    fn unpack(&self, _: &Input, _: &str, _: &UnpackOptions, _: &Stop) -> Result<()> {
        unreachable!()
    }

    fn list(&self, _: &str, _: &Stop) -> Result<Vec<GuestEntry>> {
        unreachable!()
    }

    fn remove(&self, _: &str, _: &[PathBuf], _: &Stop) -> Result<()> {
        unreachable!()
    }

    fn wait_until_ready(&self, _: &Stop) -> Result<()> {
        unreachable!()
    }

    fn wait_until_booted(&self, _: &Stop) -> Result<()> {
        unreachable!()
    }

    fn exists(&self, _: &str, _: &Stop) -> Result<bool> {
        unreachable!()
    }

    fn listens(&self, _: u16, _: &Stop) -> Result<bool> {
        unreachable!()
    }

    fn unit_state(&self, _: &str, _: &Stop) -> Result<UnitState> {
        unreachable!()
    }

    fn reboot(&self, _: &Stop) -> Result<()> {
        unreachable!()
    }

    fn shutdown(&self, _: &Stop) -> Result<()> {
        unreachable!()
    }

    fn sync(&self, _: &Stop) -> Result<()> {
        unreachable!()
    }

    fn time(&self, _: &Stop) -> Result<f64> {
        unreachable!()
    }

    fn wake(&self, _: Connections, _: &Stop) -> Result<Option<String>> {
        unreachable!()
    }

    fn info(&self, _: &Stop) -> Result<BTreeMap<String, String>> {
        unreachable!()
    }
}

fn subject() -> Subject {
    Subject::machine(&MachineName::new("m").unwrap())
}

fn live() -> LiveSession {
    LiveSession::new(subject(), Arc::new(Shell), Events::none(), Interrupt::default())
}

fn checkpointer() -> Checkpointer {
    Checkpointer::new(Weak::new(), Vec::new(), Duration::from_secs(60), &Interrupt::default())
}

fn failure(performed: Result<Outcome, NoOutcome>) -> Error {
    match performed {
        Err(NoOutcome::Failed(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn operations(session: &dyn Session) -> Vec<String> {
    session.journal().entries.iter().map(|entry| entry.operation.to_string()).collect()
}

#[test]
fn a_live_session_records_what_it_carried_out() {
    let session = live();
    assert_eq!(session.perform(&request(run("a"), true)).unwrap(), exit(0));
    assert_eq!(session.perform(&request(run("exit 3"), false)).unwrap(), exit(3));
    assert_eq!(operations(&session), [r#"run "a""#, r#"run "exit 3""#]);
    assert_eq!((session.standing(), session.is_recorded(), session.matched()), ((2, true), true, 0));
    assert_eq!((session.attempt(), session.left_over()), (None, None));
}

#[test]
fn a_failure_is_an_attempt_and_no_entry() {
    let session = live();
    failure(
        session.perform(&request(Operation::Read { path: "/x".into(), exclude: Vec::new(), preserve: false }, true)),
    );
    assert!(session.is_recorded(), "a read changes nothing");
    failure(session.perform(&request(run("exit 3"), true)));
    assert!(!session.is_recorded());
    let attempt = session.attempt().unwrap();
    assert_eq!((attempt.operation, attempt.status), (run("exit 3"), Some(3)));
    session.perform(&request(run("a"), true)).unwrap();
    assert_eq!((session.attempt(), session.is_recorded()), (None, false));
    assert_eq!(operations(&session), [r#"run "a""#]);
}

#[test]
fn by_hand_failures_are_recorded_and_an_interrupted_one_has_an_unknown_effect() {
    let session = live().by_hand(journal(vec![(run("before"), exit(0))]), None, checkpointer());
    failure(session.perform(&request(run("exit 3"), true)));
    assert_eq!((session.standing(), session.known()), ((2, true), None));
    failure(session.perform(&request(run("hang"), true)));
    failure(session.perform(&request(run("hang"), true)));
    assert_eq!((session.standing(), session.known()), ((4, false), Some(2)));
    assert_eq!(session.journal().entries[1].outcome, exit(3));
}

#[test]
fn a_resumed_session_answers_first_what_its_disks_hold() {
    let answers = journal(vec![(run("a"), exit(0)), (run("b"), exit(0))]);
    let session = live().resumed(answers.clone(), checkpointer());
    session.perform(&request(run("a"), true)).unwrap();
    assert_eq!(session.left_over().unwrap(), r#"operation 2 of m is gone: run "b""#);
    assert!(matches!(session.perform(&request(run("c"), true)), Err(NoOutcome::Diverged(_))));
    session.perform(&request(run("b"), true)).unwrap();
    session.perform(&request(run("c"), true)).unwrap();
    assert_eq!((session.matched(), session.left_over()), (2, None));
    assert!(session.journal().entries.starts_with(&answers.entries));
}

#[test]
fn a_step_out_of_time_fails_with_its_own_limit() {
    let session = live().within(Some(Duration::from_nanos(1)));
    let error = failure(session.perform(&request(run("a"), true)));
    assert_eq!((error.kind, error.message.as_str()), (Kind::Timeout, "the step of `m` timed out after 1ns"));
    assert!(operations(&session).is_empty());
    assert!(live().within(None).limit().is_none());
}
