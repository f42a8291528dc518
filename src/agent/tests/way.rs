#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::sync::mpsc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;

use super::super::{Agent, Ported, Transport, TransportError};
use super::{Answer, EXEC, Script, exited, pid, stop};
use crate::channel::Port;
use crate::hypervisor::{Command, Condition, Connections, Exit, Guest};

/// A guest whose agent answers from a script, and whose port is found in these states, one after the other.
struct WithPort {
    agent: Script,
    found: Mutex<VecDeque<Ported>>,
}

impl Transport for WithPort {
    fn command(&self, text: &str, timeout: Duration) -> Result<String, TransportError> {
        self.agent.command(text, timeout)
    }

    fn port(&self) -> Result<Ported, TransportError> {
        Ok(self.found.lock().pop_front().expect("it looked once more"))
    }
}

fn guest<const N: usize, const M: usize>(agent: [(&'static str, Answer); N], found: [Ported; M]) -> Agent<WithPort> {
    Agent::new(WithPort { agent: Script::new(agent), found: Mutex::new(found.into()) }, "vm")
}

fn none(why: &str) -> Ported {
    Ported::None(why.to_string())
}

/// A line on which a program of an older snaptree speaks.
struct Old;

impl Port for Old {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&b"h\0\0\0\0"[..]).read(buffer)
    }

    fn wait(&mut self, _bell: BorrowedFd<'_>, _to_send: bool) {}

    fn is_waited_at(&mut self) -> bool {
        true
    }
}

fn old() -> Ported {
    Ported::Open(Box::new(Old))
}

fn run(guest: &dyn Guest) -> Exit {
    guest.run(&Command::argv(["ls"]), &mut |_, _| {}, &stop()).unwrap()
}

/// The agent answers before anything is asked of it.
fn there() -> (&'static str, Answer) {
    ("guest-ping", Ok(json!({})))
}

fn done(status: i32) -> [(&'static str, Answer); 2] {
    [pid(7), exited(status, b"ended\n", b"")]
}

#[test]
fn a_guest_without_the_port_is_left_to_its_agent() {
    let [a, b] = done(3);
    let [c, d] = done(4);
    let guest = guest([a, b, c, d], [none("the domain has no port for it")]);
    assert_eq!(guest.obstacle(&stop()).unwrap().as_deref(), Some("the domain has no port for it"));
    // It is not looked for again.
    assert_eq!((run(&guest), run(&guest)), (Exit(3), Exit(4)));
}

#[test]
fn a_guest_that_cannot_have_the_program_is_left_to_its_agent() {
    let [a, _] = done(0);
    let refused = exited(1, b"ended\nsh: cannot create /run/x\n", b"");
    let [c, d] = done(4);
    let guest = guest([there(), a, refused, c, d], [Ported::Unattended]);
    assert_eq!(guest.obstacle(&stop()).unwrap().as_deref(), Some("sh: cannot create /run/x"));
    assert_eq!(run(&guest), Exit(4));
}

#[test]
fn a_program_that_does_not_come_to_its_port_is_not_waited_for() {
    let [a, b] = done(0);
    let guest = guest([there(), a, b], [Ported::Unattended, Ported::Unattended]);
    assert_eq!(guest.obstacle(&stop()).unwrap().as_deref(), Some("no program waits at its port"));
}

#[test]
fn a_guest_without_the_port_is_woken_by_its_agent() {
    let found = || [none("no port")];
    guest([pid(7), exited(0, b"", b"")], found()).wake(Connections::Reset, &stop()).unwrap();
    let set = ("guest-set-time", Ok(json!({})));
    guest([pid(7), exited(1, b"", b""), set], found()).wake(Connections::Reset, &stop()).unwrap();
    let away = || (EXEC, Err(TransportError::NotConnected("not connected".to_string())));
    guest([away(), away(), pid(7), exited(0, b"", b"")], found()).wake(Connections::Reset, &stop()).unwrap();
    // So is one in which a program of an older snaptree waits.
    guest([pid(7), exited(0, b"", b"")], [old()]).wake(Connections::Reset, &stop()).unwrap();
}

/// The program itself takes the agent's place.
#[cfg(target_arch = "x86_64")]
mod program {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;
    use std::process::{Child, Stdio};

    use super::*;
    use crate::channel::PROGRAM;
    use crate::hypervisor::{FileMode, Stream};

    struct Line(UnixStream, Child, #[expect(dead_code, reason = "removed with it")] tempfile::TempDir);

    impl Port for Line {
        fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }

        fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }

        fn wait(&mut self, _bell: BorrowedFd<'_>, _to_send: bool) {
            std::thread::sleep(Duration::from_millis(1));
        }

        fn is_waited_at(&mut self) -> bool {
            true
        }
    }

    impl Drop for Line {
        fn drop(&mut self) {
            let _ = self.1.kill();
            let _ = self.1.wait();
        }
    }

    fn program() -> Ported {
        let (ours, its) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("channel");
        std::fs::write(&file, PROGRAM).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o700)).unwrap();
        let its: std::os::fd::OwnedFd = its.into();
        let child = loop {
            let stdin = Stdio::from(its.try_clone().unwrap());
            match std::process::Command::new(&file).arg("-").env("PATH", "/usr/bin:/bin").stdin(stdin).spawn() {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {}
                child => break child.unwrap(),
            }
        };
        Ported::Open(Box::new(Line(ours, child, directory)))
    }

    #[test]
    fn a_guest_with_the_program_needs_no_agent() {
        let guest = guest([], [program()]);
        assert_eq!(guest.obstacle(&stop()).unwrap(), None);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        let path = file.to_str().unwrap();
        let owner = std::process::Command::new("id").arg("-un").output().unwrap().stdout;
        let owner = String::from_utf8(owner).unwrap().trim().to_string();
        let mode = FileMode { mode: Some(0o4700), owner: Some(owner) };
        assert_eq!(guest.write(path, &mut &b"some"[..], &mode, &stop()).unwrap(), 4);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o4700);
        let stranger = FileMode { owner: Some("no-such-user".to_string()), ..FileMode::default() };
        let error = guest.write(path, &mut &b"x"[..], &stranger, &stop()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot give `{path}` in the guest to `no-such-user`")), "{error}");
        let mut bytes = Vec::new();
        guest.read("/proc/self/comm", &mut bytes, &stop()).unwrap();
        assert_eq!(bytes, b"channel\n");
        assert!(guest.exists("/tmp", &stop()).unwrap() && !guest.exists("/no/where", &stop()).unwrap());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(guest.listens(listener.local_addr().unwrap().port(), &stop()).unwrap());

        guest.wait_for(&Condition::Exists("/tmp".to_string()), &stop()).unwrap();
        let (sender, input) = mpsc::sync_channel(1);
        let no_signals = mpsc::channel().1;
        let mut output = Vec::new();
        let mut answer = |stream, bytes: &[u8]| {
            output.push((stream, String::from_utf8_lossy(bytes).into_owned()));
            let _ = sender.send(Ok(b"in\n".to_vec()));
        };
        let command = Command::argv(["sh", "-c", "echo out; read -r line; echo $line >&2; exit 3"]);
        assert_eq!(guest.run_with_input(&command, &input, &no_signals, &mut answer, &stop()).unwrap(), Exit(3));
        assert_eq!(output, [(Stream::Stdout, "out\n".to_string()), (Stream::Stderr, "in\n".to_string())]);
    }

    #[test]
    fn the_program_is_put_into_a_guest_and_replaces_an_older_one() {
        let [a, b] = done(0);
        assert_eq!(guest([there(), a, b], [Ported::Unattended, program()]).obstacle(&stop()).unwrap(), None);
        let [a, b] = done(0);
        let replaced = guest([there(), a, b], [old(), program()]);
        assert_eq!(run(&replaced), Exit(0));
    }

    /// A line that is lost after so many bytes from the guest.
    struct Lost(Box<dyn Port>, usize);

    impl Port for Lost {
        fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes)
        }

        fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(self.1);
            let got = if most == 0 { 0 } else { self.0.receive(&mut buffer[..most])? };
            self.1 -= got;
            Ok(got)
        }

        fn wait(&mut self, bell: BorrowedFd<'_>, to_send: bool) {
            self.0.wait(bell, to_send);
        }

        fn is_waited_at(&mut self) -> bool {
            self.0.is_waited_at()
        }
    }

    #[test]
    fn a_guest_whose_channel_is_lost_meanwhile_is_woken_by_its_agent() {
        let Ported::Open(port) = program() else { unreachable!() };
        let greeting = 29;
        let [a, b] = done(0);
        let [c, d] = done(3);
        let guest = guest([a, b, c, d], [Ported::Open(Box::new(Lost(port, greeting))), none("it is lost")]);
        assert_eq!(guest.wake(Connections::Reset, &stop()).unwrap(), None);
        assert_eq!(run(&guest), Exit(3));
    }

    #[test]
    fn a_lost_channel_is_opened_again() {
        let guest = guest([], [program(), program()]);
        let kill = Command::argv(["sh", "-c", "kill -9 $PPID"]);
        let error = guest.run(&kill, &mut |_, _| {}, &stop()).unwrap_err().to_string();
        assert!(error.starts_with("lost `sh -c kill -9 $PPID` in the guest: "), "{error}");
        assert_eq!(run(&guest), Exit(0));
    }
}
