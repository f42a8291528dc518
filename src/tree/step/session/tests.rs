use std::time::Duration;

use crate::event::Events;
use crate::hypervisor::CommandLine;
use crate::stop::Interrupt;
use crate::tree::record::journal::{Entry, Journal};
use crate::tree::record::operation::{Bytes, Operation, Outcome, Payload, Request};
use crate::tree::step::recall::Halt;
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

fn session(entries: Vec<(Operation, Outcome)>) -> Session {
    let entries =
        entries.into_iter().map(|(operation, outcome)| Entry { operation, outcome, took: 1, shape: None }).collect();
    Session::replay("n", Journal { entries, ..Journal::default() }, Events::none(), Interrupt::default())
}

fn divergence(session: &Session, request: &Request) -> String {
    match session.perform(request) {
        Err(Halt::Diverged(reason)) => reason.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_matching_operation_is_answered_from_the_journal() {
    let session = session(vec![(run("a"), exit(0))]);
    assert!(!session.has_gone_through());
    assert_eq!(session.perform(&request(run("a"), true)).unwrap(), exit(0));
    assert_eq!(session.left_over(), None);
    assert!(session.has_gone_through());
    divergence(&session, &request(run("b"), true));
    assert_eq!((session.has_gone_through(), session.matched(), session.wanted()), (false, 1, Some(run("b"))));
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
    let read = Operation::Read { path: "/big".into() };
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
    let read = Operation::Read { path: "/x".into() };
    let session = session(vec![(read.clone(), Outcome::Content(Bytes(b"\0\xff".to_vec())))]);
    let pull = Request { payload: Payload::Into(path.clone()), ..request(read, true) };
    session.perform(&pull).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"\0\xff");
}
