//! What reaches a command of `exec` while it runs: what is piped into it, and signals.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::support::{DISK, Ran, Test, terminal};

fn lab() -> Ran {
    let script = "machine('lab', { image = image.file('i.qcow2') }):root('base')";
    Test::new().file("i.qcow2", DISK).script(script).args(["run", "script.lua"]).any_stderr().run()
}

/// Runs `exec` with a standard input of its own and gives it what `feed` writes; returns its exit code.
fn exec(lab: &Ran, command: &[&str], stdin: Stdio, feed: impl FnOnce(Option<std::process::ChildStdin>)) -> Option<i32> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_snaptree"))
        .args(["-q", "-c", "fake:state.json", "exec", "lab/base", "--"])
        .args(command)
        .current_dir(lab.path())
        .stdin(stdin)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    feed(child.stdin.take());
    child.wait().unwrap().code()
}

fn input_of_the_last(lab: &Ran) -> Vec<u8> {
    let state = lab.state();
    let last = state["executed"].as_array().unwrap().last().unwrap();
    BASE64.decode(last["stdin"].as_str().unwrap_or_default()).unwrap()
}

#[test]
fn exec_does_not_wait_for_input_that_the_command_does_not_read() {
    let lab = lab();
    // The pipe is open for as long as the command runs, and nothing is written to it.
    let (reader, writer) = std::io::pipe().unwrap();
    assert_eq!(exec(&lab, &["true"], reader.into(), |_| {}), Some(0));
    drop(writer);
    assert_eq!(exec(&lab, &["false"], Stdio::null(), |_| {}), Some(1));
}

#[test]
fn what_is_piped_into_exec_arrives_whole_and_in_order() {
    let lab = lab();
    let slow = |pipe: Option<std::process::ChildStdin>| {
        let mut pipe = pipe.unwrap();
        pipe.write_all(b"early").unwrap();
        std::thread::sleep(Duration::from_millis(300));
        pipe.write_all(b"late").unwrap();
    };
    assert_eq!(exec(&lab, &["consume"], Stdio::piped(), slow), Some(0));
    assert_eq!(input_of_the_last(&lab), b"earlylate");
    for length in [0, 1, 64 << 10, (64 << 10) + 1, 10 << 20] {
        let bytes: Vec<u8> = (0..length).map(|n: usize| (n ^ (n >> 8)) as u8).collect();
        let whole = |pipe: Option<std::process::ChildStdin>| pipe.unwrap().write_all(&bytes).unwrap();
        assert_eq!(exec(&lab, &["consume"], Stdio::piped(), whole), Some(0));
        assert!(input_of_the_last(&lab) == bytes, "{length} bytes came changed");
    }
}

#[test]
fn an_input_that_cannot_be_read_is_an_error() {
    let lab = lab();
    let child = Command::new(env!("CARGO_BIN_EXE_snaptree"))
        .args(["-q", "-c", "fake:state.json", "exec", "lab/base", "--", "consume"])
        .current_dir(lab.path())
        .stdin(std::fs::File::open(lab.path()).unwrap())
        .output()
        .unwrap();
    assert_eq!(child.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&child.stderr), "error: cannot read the standard input: Is a directory\n");
}

/// Begins `exec` of a command that takes a minute, and waits until it runs.
fn begin(lab: &Ran) -> Child {
    let before = lab.executed().len();
    let child = Command::new(env!("CARGO_BIN_EXE_snaptree"))
        .args(["-q", "-c", "fake:state.json", "exec", "lab/base", "--", "sleep", "60"])
        .current_dir(lab.path())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    terminal::wait_until(|| lab.executed().len() > before);
    child
}

fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_signal_goes_to_the_command_whose_status_is_that_of_exec() {
    let lab = lab();
    for (signal, status) in [("INT", 130), ("TERM", 143), ("HUP", 129), ("QUIT", 131), ("USR1", 138), ("USR2", 140)] {
        let child = begin(&lab);
        send(&child, signal);
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(status), &b""[..]), "{signal}");
        assert_eq!(lab.domains(), ["lab"], "{signal}");
    }
}
