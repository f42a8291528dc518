//! Several processes at one guest, each on a line of its own.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::super::frame::{self, HEADER, Kind, MOST, NONCE};
use super::super::{Forwarding, Sessions, attend};
use super::line::Chance;
use super::*;

/// What attends a guest.
struct Attended {
    session: Arc<Session>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Attended {
    fn new() -> (Guest, Self) {
        let (guest, session) = Guest::session();
        (guest, Self { session: Arc::new(session), threads: Vec::new() })
    }

    /// Returns the line of another process.
    fn line(&mut self) -> UnixStream {
        let (ours, its) = UnixStream::pair().unwrap();
        for end in [&ours, &its] {
            end.set_nonblocking(true).unwrap();
        }
        let session = Arc::clone(&self.session);
        self.threads.push(std::thread::spawn(move || attend(&session, Box::new(Socket(its)))));
        ours
    }

    fn client(&mut self) -> Session {
        Session::open(Box::new(Socket(self.line()))).unwrap()
    }
}

fn file_with(pid: &Path) -> String {
    let stop = stop();
    loop {
        match std::fs::read_to_string(pid) {
            Ok(pid) if pid.ends_with('\n') => return pid.trim().to_string(),
            _ => stop.check(|| "a process".to_string()).unwrap(),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn each_process_has_the_guest_as_if_to_itself() {
    let (_guest, mut attended) = Attended::new();
    let clients: Vec<Session> = (0..4).map(|_| attended.client()).collect();
    std::thread::scope(|scope| {
        for (number, client) in clients.iter().enumerate() {
            for turn in 0..5 {
                scope.spawn(move || {
                    let much = vec![b'0' + number as u8; 600_000 + turn];
                    let command = Command { stdin: much.clone(), ..shell("cat; echo done >&2; exit 3") };
                    let (mut back, mut errors) = (Vec::new(), Vec::new());
                    let mut keep = |stream, data: &[u8]| match stream {
                        Stream::Stdout => back.extend_from_slice(data),
                        Stream::Stderr => errors.extend_from_slice(data),
                    };
                    let exit = client.run(&command, Source::Whole(&command.stdin), &mut keep, &stop()).unwrap();
                    assert!(back == much && errors == b"done\n" && exit.0 == 3);
                });
            }
        }
    });
    // Long requests of several processes are not mixed up.
    let long = |number: usize| {
        let words = (0..8).map(|_| number.to_string().repeat(90_000));
        ["sh", "-c", "echo \"$#${1%${1#?}}\"", "sh"].map(str::to_string).into_iter().chain(words).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        for (number, client) in clients.iter().enumerate() {
            scope.spawn(move || {
                let command = Command::new(crate::hypervisor::CommandLine::Argv(long(number)));
                assert_eq!(ran(client, &command), said(0, &format!("8{number}\n"), ""));
            });
        }
    });
}

#[test]
fn what_a_process_leaves_is_killed_and_the_others_are_spared() {
    let (_guest, mut attended) = Attended::new();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let (leaver, stayer) = (attended.client(), attended.client());
    let begin = |session: &Session, name: &str| {
        let command = shell(&format!("echo $$ >{}; sleep 1000", file(name).display()));
        let request = super::super::requests::execute(&command, false, 0);
        std::mem::forget(session.request(Kind::Execute, &request));
        file_with(&file(name))
    };
    let (left, spared) = (begin(&leaver, "left"), begin(&stayer, "spared"));
    // Ports and connections are let go of, and reset.
    let leaver = Arc::new(leaver);
    let its = Arc::clone(&leaver);
    let sessions: Sessions = Arc::new(move || Some(Arc::clone(&its)));
    let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = service.local_addr().unwrap().port();
    let inside = Forwarding::into_guest(0, port, sessions).unwrap();
    let _connection = std::net::TcpStream::connect(("127.0.0.1", inside.port())).unwrap();
    let (mut accepted, _) = service.accept().unwrap();
    std::mem::forget(inside);
    let mut line = attended.line();
    // As if the process were killed: its line is closed and nothing else.
    leaver.hang_up();
    accepted.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(accepted.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    wait_for_process_end(&left);
    assert!(Path::new("/proc").join(&spared).exists());
    assert_eq!(ran(&stayer, &Command::argv(["echo", "there"])).1, "there\n");
    // A second hello on a line ends what came before it, as in the guest.
    line.set_nonblocking(false).unwrap();
    let request =
        super::super::requests::execute(&shell(&format!("echo $$ >{}; sleep 1000", file("again").display())), false, 0);
    for nonce in [[1; NONCE], [2; NONCE]] {
        line.write_all(&[&frame::header(Kind::Hello, 0, NONCE)[..], &nonce].concat()).unwrap();
        if nonce == [1; NONCE] {
            let content = [&request[..], &nonce].concat();
            line.write_all(&[&frame::header(Kind::Execute, 1, content.len())[..], &content].concat()).unwrap();
            file_with(&file("again"));
        }
    }
    wait_for_process_end(&file_with(&file("again")));
    assert_eq!(ran(&stayer, &Command::argv(["kill", "-9", &spared])).0, 0);
}

#[test]
fn the_end_of_the_guest_is_told_to_each_process() {
    let (guest, mut attended) = Attended::new();
    let client = attended.client();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            let command = shell(&format!("echo $$ >{}; exec sleep 1000", file.display()));
            text_of(client.run(&command, Source::Whole(&[]), &mut |_, _| {}, &stop()))
        });
        let pid = file_with(&file);
        drop(guest);
        assert!(running.join().unwrap().ends_with(" in the guest: the guest has stopped"));
        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    });
    attended.threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
}

#[test]
fn the_attendants_parser_survives_anything() {
    let (_guest, mut attended) = Attended::new();
    let stayer = attended.client();
    let mut chance = Chance::new(42);
    for round in 0..300 {
        let mut line = attended.line();
        line.set_nonblocking(false).unwrap();
        let mut sent = if round % 3 == 0 { vec![0; HEADER + MOST] } else { Vec::new() };
        if round % 2 == 0 {
            sent.extend(frame::header(Kind::Hello, 0, NONCE));
            sent.extend([7; NONCE]);
            for kind in [Kind::Execute, Kind::Read, Kind::Write, Kind::Connect, Kind::Listen] {
                let content: Vec<u8> =
                    (0..5 + chance.next(7)).map(|_| chance.next(4) as u8).chain([7; NONCE]).collect();
                sent.extend(frame::header(kind, 1 + chance.next(3) as u32, content.len()));
                sent.extend(content);
            }
        }
        sent.extend(chance.bytes());
        line.write_all(&sent).unwrap();
    }
    assert_eq!(ran(&stayer, &Command::argv(["echo", "there"])), said(0, "there\n", ""));
    drop(stayer);
    attended.threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
}
