//! A line that is cut after each byte.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::{Session, Source, Trouble};
use super::{Guest, Socket, input, no_signals, shell, stop};
use crate::hypervisor::{Condition, Exit};

/// Where a line is cut: after so many bytes on the way to the guest, or to the host.
#[derive(Clone, Copy, Debug)]
struct Cut {
    to_guest: usize,
    to_host: usize,
}

const NEVER: usize = usize::MAX;

/// A line between a host and a guest that is cut.
struct Line {
    host: UnixStream,
    passed: [Arc<AtomicUsize>; 2],
}

impl Line {
    fn to(guest: UnixStream, cut: Cut) -> Self {
        guest.set_nonblocking(false).unwrap();
        let (host, ours) = UnixStream::pair().unwrap();
        host.set_nonblocking(true).unwrap();
        let ends = |from: &UnixStream, to: &UnixStream| (from.try_clone().unwrap(), to.try_clone().unwrap());
        let ways = [(ends(&ours, &guest), cut.to_guest), (ends(&guest, &ours), cut.to_host)];
        let passed = ways.map(|((from, to), most)| {
            let passed = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&passed);
            std::thread::spawn(move || pass(from, to, most, &count));
            passed
        });
        Self { host, passed }
    }
}

/// Passes bytes on until the line is cut, for both ways.
fn pass(mut from: UnixStream, mut to: UnixStream, most: usize, passed: &AtomicUsize) {
    let mut piece = [0; 4096];
    let mut left = most;
    while let Ok(got @ 1..) = from.read(&mut piece) {
        let got = got.min(left);
        if to.write_all(&piece[..got]).is_err() {
            break;
        }
        passed.fetch_add(got, Ordering::SeqCst);
        left -= got;
        if left == 0 {
            break;
        }
    }
    for end in [from, to] {
        let _ = end.shutdown(Shutdown::Both);
    }
}

/// What came of a request: whether it had its effect, and its result.
type Done = Result<String, Trouble>;

/// Does something over a line that is cut; returns the result, if a session came to be, and how much went each way.
fn with_cut(cut: Cut, act: &dyn Fn(&Session) -> Done) -> (Option<Done>, [usize; 2]) {
    let (guest, line) = Guest::start();
    let line = Line::to(line, cut);
    let done = Session::open(Box::new(Socket(line.host))).ok().map(|session| act(&session));
    guest.wait_for_end();
    (done, line.passed.map(|passed| passed.load(Ordering::SeqCst)))
}

/// Cuts the line of a request after each byte. Its result is right, or an error says that it was lost; what is told as not
/// begun is asked for again.
fn walk(lost: &str, right: &str, act: &dyn Fn(&Session) -> Done) {
    let whole = Cut { to_guest: NEVER, to_host: NEVER };
    let (done, [to_guest, to_host]) = with_cut(whole, act);
    assert_eq!(done.unwrap().unwrap(), right);
    let cuts = (1..to_guest).map(|to_guest| Cut { to_guest, ..whole });
    let mut seen = [0; 4];
    for cut in cuts.chain((1..to_host).map(|to_host| Cut { to_host, ..whole })) {
        let (done, _) = with_cut(cut, act);
        let came = match done {
            None => 0,
            Some(Ok(result)) => {
                assert_eq!(result, right, "{cut:?}");
                1
            }
            Some(Err(Trouble::NotBegun(why))) => {
                assert_eq!(why, "the guest has stopped", "{cut:?}");
                2
            }
            Some(Err(Trouble::Lost(error) | Trouble::Failed(error))) => {
                assert_eq!(error.to_string(), format!("{lost}: the guest has stopped"), "{cut:?}");
                3
            }
        };
        seen[came] += 1;
    }
    // Each of them has come about; so the walk went where it should.
    assert!(seen[0] > 0 && seen[2] > 0 && seen[3] > 0, "{seen:?}");
}

#[test]
fn a_command_is_right_or_lost_wherever_its_line_is_cut() {
    let command = shell("read -r line; echo \"$line\"; echo errors >&2; exit 7");
    let title = command.line.title();
    walk(&format!("lost `{title}` in the guest"), "Exit(7) in\nerrors\n", &|session| {
        let mut outputs = [String::new(), String::new()];
        let mut keep = |stream, bytes: &[u8]| outputs[stream as usize].push_str(std::str::from_utf8(bytes).unwrap());
        let Exit(status) = session.run(&command, Source::Live(&input([b"in\n"]), &no_signals()), &mut keep, &stop())?;
        Ok(format!("Exit({status}) {}", outputs.concat()))
    });
}

#[test]
fn a_file_is_read_whole_or_not_at_all_wherever_its_line_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "what is in it").unwrap();
    let path = file.to_str().unwrap();
    walk(&format!("cannot read `{path}` in the guest"), "what is in it", &|session| {
        let mut sink = Vec::new();
        session.read(path, &mut sink, &stop())?;
        Ok(String::from_utf8(sink).unwrap())
    });
}

#[test]
fn a_file_is_written_whole_or_its_loss_is_told_wherever_its_line_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let path = file.to_str().unwrap();
    walk(&format!("cannot write `{path}` in the guest"), "what is in it", &|session| {
        session.write(path, &mut &b"what is in it"[..], None, &stop())?;
        Ok(std::fs::read_to_string(&file).unwrap())
    });
}

#[test]
fn a_wait_is_over_or_lost_wherever_its_line_is_cut() {
    walk("cannot wait for `/proc/self` in the guest", "there", &|session| {
        session.wait_for(&Condition::Exists("/proc/self".to_string()), &stop())?;
        Ok("there".to_string())
    });
}
