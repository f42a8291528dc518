//! Waits and signals, in the program that guests have.

use super::*;
use crate::hypervisor::{Condition, Exit};

/// The processes that the program has started.
fn children(guest: &Guest) -> Vec<String> {
    let pid = guest.child.id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().map(str::to_string).collect()
}

fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let stop = stop();
    while !is_true() {
        stop.check(|| what.to_string()).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_is_true_already_is_not_waited_for() {
    let (guest, session) = Guest::session();
    session.wait_for(&Condition::Exists("/proc/self".to_string()), &stop()).unwrap();
    for address in ["127.0.0.1:0", "127.0.0.2:0", "[::1]:0"] {
        let listener = std::net::TcpListener::bind(address).unwrap();
        session.wait_for(&Condition::Listens(listener.local_addr().unwrap().port()), &stop()).unwrap();
    }
    wait_until("its processes", || children(&guest).is_empty());
}

#[test]
fn several_waits_at_once_end_when_their_time_comes() {
    let (_guest, session) = Guest::session();
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str| directory.path().join(name);
    let wanted = |name: &str| Condition::Exists(place(name).to_str().unwrap().to_string());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (sender, ended) = mpsc::channel();
    std::thread::scope(|scope| {
        // Of the first one, the directory is not there yet either; the second is a link to it.
        std::os::unix::fs::symlink(place("new/file"), place("link")).unwrap();
        for (name, condition) in
            [("file", wanted("new/file")), ("link", wanted("link")), ("port", Condition::Listens(address.port()))]
        {
            let (session, sender) = (&session, sender.clone());
            scope.spawn(move || {
                session.wait_for(&condition, &stop()).unwrap();
                sender.send(name).unwrap();
            });
        }
        let pause = Duration::from_millis(200);
        assert!(ended.recv_timeout(pause).is_err());
        let _listener = std::net::TcpListener::bind(address).unwrap();
        assert_eq!(ended.recv(), Ok("port"));
        std::fs::create_dir(place("new")).unwrap();
        assert!(ended.recv_timeout(pause).is_err());
        std::fs::write(place("new/file"), "").unwrap();
        let mut last = [ended.recv().unwrap(), ended.recv().unwrap()];
        last.sort_unstable();
        assert_eq!(last, ["file", "link"]);
    });
}

#[test]
fn a_wait_leaves_nothing_behind_when_it_is_given_up_or_the_line_is_cut() {
    let (guest, session) = Guest::session();
    let nowhere = Condition::Exists("/no/where".to_string());
    let short = Stop::after(Duration::from_millis(50), &Interrupt::default());
    let error = text_of(session.wait_for(&nowhere, &short));
    assert_eq!(error, "`/no/where` timed out after 50ms");
    wait_until("its processes", || children(&guest).is_empty());
    // What waits keeps no pipe of a command open.
    std::thread::scope(|scope| {
        let pid = &guest.child;
        let waiting = scope.spawn(|| session.wait_for(&nowhere, &stop()));
        wait_until("a process", || !children(&guest).is_empty());
        let watcher = children(&guest).remove(0);
        let files = || std::fs::read_dir(format!("/proc/{watcher}/fd")).unwrap().count();
        wait_until("no files", || files() == 0);
        let echo = Command { stdin: b"in".to_vec(), ..shell("cat") };
        assert_eq!(ran(&session, &echo), said(0, "in", ""));
        rustix::process::kill_process(rustix::process::Pid::from_child(pid), rustix::process::Signal::KILL).unwrap();
        assert!(matches!(waiting.join().unwrap(), Err(Trouble::Lost(_))));
        wait_for_process_end(&watcher);
    });
}

/// Runs a command, which gets a signal when it first prints something.
fn signalled(session: &Session, command: &Command, signal: i32) -> (i32, String) {
    let (sender, signals) = mpsc::channel();
    let mut output = String::new();
    // The shell may say on the other stream what a signal did to its child.
    let mut answer = |stream, bytes: &[u8]| {
        if stream == Stream::Stderr {
            return;
        }
        if output.is_empty() {
            sender.send(signal).unwrap();
        }
        output.push_str(std::str::from_utf8(bytes).unwrap());
    };
    let open = mpsc::sync_channel(1);
    let Exit(status) = session.run(command, Source::Live(&open.1, &signals), &mut answer, &stop()).unwrap();
    (status, output)
}

#[test]
fn a_signal_goes_to_the_process_group_and_the_status_is_the_commands_own() {
    let (_guest, session) = Guest::session();
    let trap = shell("trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    assert_eq!(signalled(&session, &trap, 15), (3, "ready\ncaught\n".to_string()));
    let ignores = shell("trap '' HUP; echo ready; sleep 0.2; echo still there");
    assert_eq!(signalled(&session, &ignores, 1), (0, "ready\nstill there\n".to_string()));
    assert_eq!(signalled(&session, &shell("echo ready; sleep 1000; echo on"), 15), (143, "ready\n".to_string()));
    assert_eq!(signalled(&session, &shell("echo ready; sleep 0.2; exit 5"), 999), (5, "ready\n".to_string()));
}

#[test]
fn a_signal_passes_by_what_gave_the_command_a_session_of_its_own() {
    let (_guest, session) = Guest::session();
    // As `su` does it.
    let line = "setsid sh -c 'trap \"exit 4\" TERM; echo ready; while :; do sleep 0.05; done'; echo $?; exit 6";
    assert_eq!(signalled(&session, &shell(line), 15), (6, "ready\n4\n".to_string()));
}
