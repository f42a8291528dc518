#![allow(clippy::unwrap_used)]

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::super::transport::Port;
use super::super::waker::PORT;
use super::super::{Agent, Transport, TransportError};
use super::{Answer, EXEC, Script, exited, pid, stop};
use crate::hypervisor::{Command, Exit, Guest, Input, Stream};

/// A guest whose agent answers from a script, and perhaps a port.
struct Ported {
    agent: Script,
    port: Mutex<Option<Box<dyn Port>>>,
}

impl Transport for Ported {
    fn command(&self, text: &str, timeout: Duration) -> Result<String, TransportError> {
        self.agent.command(text, timeout)
    }

    fn port(&self, name: &str) -> Result<Option<Box<dyn Port>>, TransportError> {
        assert_eq!(name, PORT);
        Ok(self.port.lock().take())
    }
}

/// Sends scripted bytes, a piece at a time, and remembers what it received.
struct Said {
    pieces: VecDeque<Vec<u8>>,
    told: Arc<Mutex<Vec<u8>>>,
}

impl Port for Said {
    fn send(&mut self, bytes: &[u8]) -> Result<usize, TransportError> {
        self.told.lock().extend(bytes);
        Ok(bytes.len())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, TransportError> {
        let Some(piece) = self.pieces.pop_front() else { return Ok(Some(0)) };
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(if piece.is_empty() { None } else { Some(piece.len()) })
    }
}

fn guest<const N: usize>(agent: [(&'static str, Answer); N], pieces: &[&[u8]]) -> (Agent<Ported>, Arc<Mutex<Vec<u8>>>) {
    let told = Arc::default();
    let said = Said { pieces: pieces.iter().map(|piece| piece.to_vec()).collect(), told: Arc::clone(&told) };
    let port: Option<Box<dyn Port>> = if pieces.is_empty() { None } else { Some(Box::new(said)) };
    let ported = Ported { agent: Script::new(agent), port: Mutex::new(port) };
    (Agent::new(ported, "vm"), told)
}

/// Returns an input that has ended after these pieces.
fn input<const N: usize>(pieces: [&[u8]; N]) -> Input {
    let (sender, receiver) = mpsc::sync_channel(N.max(1));
    pieces.into_iter().for_each(|piece| sender.send(Ok(piece.to_vec())).unwrap());
    receiver
}

fn run_last(
    guest: &dyn Guest,
    command: &Command,
    input: &Input,
) -> (crate::error::Result<Exit>, Vec<(Stream, String)>) {
    let mut output = Vec::new();
    let mut keep = |stream, data: &[u8]| output.push((stream, String::from_utf8_lossy(data).into_owned()));
    let exit = guest.run_last(command, input, &mut keep, &stop());
    (exit, output)
}

#[test]
fn a_guest_is_woken_through_its_port_and_runs_its_last_command_there() {
    // Frames come as they like: in pieces, or several at once.
    let pieces: [&[u8]; 7] = [
        b"h\0\0\0",
        b"",
        b"\0w\x02\0\0\0\x01\x01h\0\0\0\0",
        b"o\x03\0\0\0on",
        b"eo\x01\0\0\0.e\x04\0\0\0oops",
        b"x\x04\0\0\0\x03\0",
        b"\0\0",
    ];
    let (guest, told) = guest([], &pieces);
    guest.wake(&stop()).unwrap();
    let woken = std::mem::take(&mut *told.lock());
    let (time, seed) = woken.strip_prefix(b"W\x4c\0\0\0").unwrap().split_at(12);
    let (seconds, nanoseconds) = time.split_at(8);
    let seconds = u64::from_le_bytes(seconds.try_into().unwrap());
    let time = Duration::new(seconds, u32::from_le_bytes(nanoseconds.try_into().unwrap()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    assert!(time <= now && now - time < Duration::from_secs(10), "{time:?} is not about {now:?}");
    assert!(seed.len() == 64 && seed.iter().all(u8::is_ascii_hexdigit), "{seed:?}");

    let command = Command {
        env: [("A".to_string(), "b c".to_string())].into(),
        cwd: Some("/srv".to_string()),
        ..Command::argv(["ls", "-l"])
    };
    let (exit, output) = run_last(&guest, &command, &input([b"in", b"put"]));
    assert_eq!(exit.unwrap(), Exit(3));
    let said = |stream, text: &str| (stream, text.to_string());
    assert_eq!(output, [said(Stream::Stdout, "one"), said(Stream::Stdout, "."), said(Stream::Stderr, "oops")]);
    let expected = b"R\x19\0\0\0\x04\0\0\0/srv\0env\0A=b c\0ls\0-l\0I\x02\0\0\0inI\x03\0\0\0putI\0\0\0\0";
    assert_eq!(told.lock().as_slice(), expected);
}

#[test]
fn a_clock_that_the_waker_cannot_set_is_set_by_the_agent() {
    let set = ("guest-set-time", Ok(json!({})));
    guest([set], &[b"w\x01\0\0\0\0"]).0.wake(&stop()).unwrap();
    let set = ("guest-set-time", Ok(json!({})));
    guest([set], &[b"u\0\0\0\0"]).0.wake(&stop()).unwrap();
}

#[test]
fn a_guest_without_the_port_is_woken_by_its_agent() {
    guest([pid(7), exited(0, b"", b"")], &[]).0.wake(&stop()).unwrap();
    let set = ("guest-set-time", Ok(json!({})));
    guest([pid(7), exited(1, b"", b""), set], &[]).0.wake(&stop()).unwrap();
    let away = || (EXEC, Err(TransportError::NotConnected("not connected".to_string())));
    guest([away(), away(), pid(7), exited(0, b"", b"")], &[]).0.wake(&stop()).unwrap();
}

#[test]
fn what_the_waker_does_not_take_is_run_by_the_agent() {
    let (of_user, told) = guest([pid(7), exited(4, b"ended\n", b"")], &[b"w\x02\0\0\0\x01\x01"]);
    of_user.wake(&stop()).unwrap();
    told.lock().clear();
    let command = Command { user: Some("nobody".to_string()), ..Command::argv(["id"]) };
    assert_eq!(run_last(&of_user, &command, &input([])).0.unwrap(), Exit(4));
    assert!(told.lock().is_empty());

    // One installed by an older snaptree takes all input at once.
    let (old, told) = guest([pid(7), exited(4, b"ended\n", b"")], &[b"w\x01\0\0\0\x01"]);
    old.wake(&stop()).unwrap();
    told.lock().clear();
    assert_eq!(run_last(&old, &Command::argv(["wc"]), &input([b"x"])).0.unwrap(), Exit(4));
    assert!(told.lock().is_empty());
}

#[test]
fn what_comes_from_the_line_and_is_no_answer_is_an_error() {
    let unclear = "cannot run `ls` in the guest: cannot understand what the guest's end of the line sends";
    for rubbish in [&b"?\0\0\0\0"[..], b"o\xff\xff\xff\xff", b"x\x01\0\0\0\x01", b"x\0\0\0\0", b"\0\0\0\0\0"] {
        let (guest, _) = guest([], &[b"w\x02\0\0\0\x01\x01", rubbish]);
        guest.wake(&stop()).unwrap();
        let error = run_last(&guest, &Command::argv(["ls"]), &input([])).0.unwrap_err().to_string();
        assert_eq!(error, unclear, "{rubbish:?}");
    }
}

#[test]
fn a_line_that_ends_is_told_with_what_it_was_for() {
    let error = guest([], &[b"h\0\0\0\0"]).0.wake(&stop()).unwrap_err().to_string();
    assert_eq!(error, "cannot wake the guest: the guest's end of the line is gone");
    let (guest, _) = guest([], &[b"w\x02\0\0\0\x01\x01"]);
    guest.wake(&stop()).unwrap();
    let error = run_last(&guest, &Command::argv(["ls", "-l"]), &input([])).0.unwrap_err().to_string();
    assert_eq!(error, "cannot run `ls -l` in the guest: the guest's end of the line is gone");
}

/// The program itself, which waits at a pseudo terminal here.
#[cfg(target_arch = "x86_64")]
mod program {
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};

    use rustix::fs::{OFlags, fcntl_setfl};
    use rustix::io::Errno;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::super::super::waker::{PROGRAM, Waker};
    use super::*;

    struct Terminal(OwnedFd);

    impl Port for Terminal {
        fn send(&mut self, bytes: &[u8]) -> Result<usize, TransportError> {
            match rustix::io::write(&self.0, bytes) {
                Ok(length) => Ok(length),
                Err(Errno::AGAIN) => Ok(0),
                Err(error) => panic!("{error}"),
            }
        }

        fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, TransportError> {
            match rustix::io::read(&self.0, buffer) {
                Ok(length) => Ok(Some(length)),
                Err(Errno::AGAIN) => Ok(None),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Starts the program; it ends when what is returned is dropped.
    fn waker() -> Waker {
        start().0
    }

    /// The same, with the program's path.
    fn start() -> (Waker, PathBuf) {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        fcntl_setfl(&terminal, OFlags::NONBLOCK).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        let raw = std::process::Command::new("stty").args(["-F", &name, "raw", "-echo"]).status();
        assert!(raw.unwrap().success());

        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("waker");
        std::fs::write(&file, PROGRAM).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o700)).unwrap();
        let started = loop {
            // A child that another test is about to start may still have the file open for writing.
            match std::process::Command::new(&file).arg(&name).env("PATH", "/usr/bin:/bin").status() {
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {}
                started => break started.unwrap(),
            }
        };
        assert!(started.success());
        let mut waker = Waker::new(Box::new(Terminal(terminal)));
        waker.takes_input = true;
        (waker, file)
    }

    fn runs(file: &Path) -> bool {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
        lines.into_iter().any(|line| line.starts_with(file.as_os_str().as_encoded_bytes()))
    }

    #[test]
    fn it_waits_until_its_port_is_gone() {
        let (mut waker, file) = start();
        assert_eq!(ran(&mut waker, &Command::argv(["echo", "there"])).1, "there\n");
        assert!(runs(&file));
        drop(waker);
        let stop = stop();
        while runs(&file) {
            stop.check(|| "the end of the program".to_string()).unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn ran(waker: &mut Waker, command: &Command) -> (i32, String, String) {
        ran_with(waker, command, &input([]))
    }

    fn ran_with(waker: &mut Waker, command: &Command, input: &Input) -> (i32, String, String) {
        let mut streams = [String::new(), String::new()];
        let mut keep = |stream, data: &[u8]| streams[stream as usize].push_str(std::str::from_utf8(data).unwrap());
        let exit = waker.run(command, input, &mut keep, &stop()).unwrap();
        let [stdout, stderr] = streams;
        (exit.0, stdout, stderr)
    }

    #[test]
    fn it_runs_one_command_after_the_other() {
        let waker = &mut waker();
        let shell = |line: &str| Command::argv(["sh", "-c", line]);
        let said = |status, stdout: &str, stderr: &str| (status, stdout.to_string(), stderr.to_string());
        let in_tmp = Command { cwd: Some("/tmp".to_string()), ..shell("pwd; echo no >&2; exit 3") };
        assert_eq!(ran(waker, &in_tmp), said(3, "/tmp\n", "no\n"));
        let env = Command { env: [("A".to_string(), "b  c".to_string())].into(), ..shell("echo \"$A\"") };
        assert_eq!(ran(waker, &env), said(0, "b  c\n", ""));
        assert_eq!(ran(waker, &shell("kill -9 $$")), said(137, "", ""));
        let (status, stdout, _) = ran(waker, &shell("yes | head -c 300000"));
        assert_eq!((status, stdout.len()), (0, 300_000));
        // What is left running is not waited for, even if it keeps printing.
        assert_eq!(ran(waker, &shell("sleep 1 & echo started")), said(0, "started\n", ""));
        assert_eq!(ran(waker, &shell("yes & exit 4")).0, 4);
        let parent = ran(waker, &shell("cat /proc/$PPID/comm")).1;
        assert_eq!(parent, "waker\n");
    }

    #[test]
    fn a_command_begins_before_its_input_has_come_and_reads_it_as_it_comes() {
        let waker = &mut waker();
        let (sender, open) = mpsc::sync_channel(4);
        // A command that does not read is not waited for, and what it left unread is not passed to the next one.
        assert_eq!(ran_with(waker, &Command::argv(["echo", "there"]), &open).1, "there\n");
        sender.send(Ok(vec![b'x'; 1 << 20])).unwrap();
        assert_eq!(ran_with(waker, &Command::argv(["true"]), &open).0, 0);
        sender.send(Ok(vec![b'x'; 1 << 20])).unwrap();
        assert_eq!(ran_with(waker, &Command::argv(["sh", "-c", "head -c 1; exec <&-; sleep 0.1"]), &open).0, 0);

        let mut said = String::new();
        let mut echo = |_, data: &[u8]| {
            said.push_str(std::str::from_utf8(data).unwrap());
            match said.as_str() {
                "one" => sender.send(Ok(b" two".to_vec())).unwrap(),
                "one two" => sender.send(Err(crate::error::Error::failed("no more"))).unwrap(),
                _ => {}
            }
        };
        sender.send(Ok(b"one".to_vec())).unwrap();
        let error = waker.run(&Command::argv(["cat"]), &open, &mut echo, &stop()).unwrap_err();
        assert_eq!((error.message.as_str(), said.as_str()), ("no more", "one two"));
    }

    #[test]
    fn input_of_every_length_arrives_whole() {
        let waker = &mut waker();
        for length in [0, 1, 16 << 10, (16 << 10) + 1, 64 << 10, (64 << 10) + 1, 3_000_000] {
            let bytes: Vec<u8> = (0..length).map(|n: usize| (n * 7 + n / 251) as u8).collect();
            let mut back: Vec<u8> = Vec::new();
            let exit = waker.run(&Command::argv(["cat"]), &input([&bytes]), &mut |_, data| back.extend(data), &stop());
            assert_eq!((exit.unwrap(), back.len()), (Exit(0), length));
            assert!(back == bytes, "{length} bytes came back changed");
        }
    }

    #[test]
    fn what_cannot_be_run_is_said_as_a_shell_does() {
        let waker = &mut waker();
        let mut fails = |command: &Command| {
            let (status, stdout, stderr) = ran(waker, command);
            assert_eq!(stdout, "");
            (status, stderr)
        };
        let said = |status, stderr: &str| (status, stderr.to_string());
        assert_eq!(fails(&Command::argv(["nope"])), said(127, "nope: not found\n"));
        assert_eq!(fails(&Command::argv(["/no/such/program", "x"])), said(127, "/no/such/program: not found\n"));
        assert_eq!(fails(&Command::argv([""])), said(127, ": not found\n"));
        assert_eq!(fails(&Command::argv(["/tmp"])), said(126, "/tmp: cannot be run\n"));
        let nowhere = Command { cwd: Some("/no/where".to_string()), ..Command::argv(["true"]) };
        assert_eq!(fails(&nowhere), said(126, "cannot enter `/no/where`: no such directory\n"));
    }

    #[test]
    fn a_script_that_names_no_shell_is_one_of_the_shell() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("script");
        std::fs::write(&file, "echo \"$1\" \"$#\"\n").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        let command = Command::argv([file.to_str().unwrap(), "a b", "c"]);
        assert_eq!(ran(&mut waker(), &command), (0, "a b 2\n".to_string(), String::new()));
    }
}
