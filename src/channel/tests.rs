#![allow(clippy::unwrap_used)]

#[cfg(target_arch = "x86_64")]
mod attended;
#[cfg(target_arch = "x86_64")]
mod cuts;
#[cfg(target_arch = "x86_64")]
mod files;
mod line;
#[cfg(target_arch = "x86_64")]
mod ports;
#[cfg(target_arch = "x86_64")]
mod program;
#[cfg(target_arch = "x86_64")]
mod terminals;
#[cfg(target_arch = "x86_64")]
mod waits;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::{PROGRAM, Port, Session, Source, Trouble};
use crate::hypervisor::{Command, Input, Signals, Stream};
use crate::stop::{Interrupt, Stop};

fn stop() -> Stop {
    Stop::after(Duration::from_secs(20), &Interrupt::default())
}

/// A line that is a socket.
struct Socket(UnixStream);

impl Port for Socket {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }

    fn wait(&mut self, bell: BorrowedFd<'_>, to_send: bool) {
        let wanted = if to_send { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut files =
            [PollFd::from_borrowed_fd(self.0.as_fd(), wanted), PollFd::from_borrowed_fd(bell, PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let _ = poll(&mut files, Some(&limit));
    }

    fn is_waited_at(&mut self) -> bool {
        true
    }
}

/// The program that guests have, as a process of this host.
struct Guest {
    child: Child,
    _directory: tempfile::TempDir,
}

impl Guest {
    /// Starts it, and returns the host's end of its line.
    fn start() -> (Self, UnixStream) {
        let (ours, its) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (directory, file) = program();
        let its: std::os::fd::OwnedFd = its.into();
        let child = loop {
            let stdin = Stdio::from(its.try_clone().unwrap());
            match Process::new(&file)
                .arg("-")
                .current_dir(&directory)
                .env("PATH", "/usr/bin:/bin")
                .stdin(stdin)
                .stderr(Stdio::null())
                .spawn()
            {
                // A child that another test is about to start may still have the file open for writing.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {}
                child => break child.unwrap(),
            }
        };
        (Self { child, _directory: directory }, ours)
    }

    /// The same, with a session.
    fn session() -> (Self, Session) {
        let (guest, line) = Self::start();
        let session = Session::open(Box::new(Socket(line))).unwrap();
        (guest, session)
    }

    fn wait_for_end(mut self) {
        let stop = stop();
        while self.child.try_wait().unwrap().is_none() {
            stop.check(|| "the end of the program".to_string()).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the program into a file.
fn program() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("channel");
    std::fs::write(&file, PROGRAM).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o700)).unwrap();
    (directory, file)
}

/// An input that has ended after these pieces.
fn input<const N: usize>(pieces: [&[u8]; N]) -> Input {
    let (sender, receiver) = mpsc::sync_channel(N.max(1));
    pieces.into_iter().for_each(|piece| sender.send(Ok(piece.to_vec())).unwrap());
    receiver
}

fn no_signals() -> Signals {
    mpsc::channel().1
}

fn shell(line: &str) -> Command {
    Command::argv(["sh", "-c", line])
}

fn ran(session: &Session, command: &Command) -> (i32, String, String) {
    ran_with(session, command, Source::Whole(&command.stdin))
}

fn ran_with(session: &Session, command: &Command, source: Source<'_>) -> (i32, String, String) {
    let mut streams = BTreeMap::<bool, String>::new();
    let mut keep = |stream, data: &[u8]| {
        streams.entry(stream == Stream::Stdout).or_default().push_str(std::str::from_utf8(data).unwrap());
    };
    let exit = session.run(command, source, &mut keep, &stop()).unwrap();
    let mut take = |is_stdout| streams.remove(&is_stdout).unwrap_or_default();
    (exit.0, take(true), take(false))
}

fn said(status: i32, stdout: &str, stderr: &str) -> (i32, String, String) {
    (status, stdout.to_string(), stderr.to_string())
}

fn text_of<R: std::fmt::Debug>(result: Result<R, Trouble>) -> String {
    match result.unwrap_err() {
        Trouble::Failed(error) | Trouble::Lost(error) => error.to_string(),
        Trouble::NotBegun(why) => format!("not begun: {why}"),
    }
}

fn wait_for_process_end(pid: &str) {
    let stop = stop();
    let status = Path::new("/proc").join(pid).join("stat");
    // What was killed may wait for PID 1 to notice.
    while std::fs::read_to_string(&status).is_ok_and(|status| !status.contains(") Z ")) {
        stop.check(|| format!("the end of process {pid}")).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
}
