//! Commands, in the program that guests have.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::*;
use crate::error::{Error, Kind};
use crate::hypervisor::{CommandLine, Exit};

#[test]
fn it_runs_one_command_after_the_other() {
    let (_guest, session) = Guest::session();
    let in_tmp = Command { cwd: Some("/tmp".to_string()), ..shell("pwd; echo no >&2; exit 3") };
    assert_eq!(ran(&session, &in_tmp), said(3, "/tmp\n", "no\n"));
    let env = Command { env: [("A".to_string(), "b  c".to_string())].into(), ..shell("echo \"$A\"") };
    assert_eq!(ran(&session, &env), said(0, "b  c\n", ""));
    assert_eq!(ran(&session, &shell("kill -9 $$")), said(137, "", ""));
    assert_eq!(ran(&session, &Command::new(CommandLine::Shell("echo \"$0\"".to_string()))), said(0, "/bin/sh\n", ""));
    let (status, stdout, _) = ran(&session, &shell("yes | head -c 3000000"));
    assert_eq!((status, stdout.len()), (0, 3_000_000));
    assert_eq!(ran(&session, &shell("cat /proc/$PPID/comm")).1, "channel\n");
    assert_eq!(ran(&session, &shell("test ! -s /dev/stdin && echo none")).1, "none\n");
    assert_eq!(
        ran(&session, &shell("echo again >/dev/stdout; echo wrong >/dev/stderr")),
        said(0, "again\n", "wrong\n")
    );
}

#[test]
fn variables_replace_those_that_are_there_and_decide_where_programs_are_found() {
    let (_guest, session) = Guest::session();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mine");
    std::fs::write(&file, "#!/bin/sh\necho \"$PATH\"\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", directory.path().display());
    let env = BTreeMap::from([("PATH".to_string(), path.clone())]);
    assert_eq!(ran(&session, &Command { env, ..Command::argv(["mine"]) }), said(0, &format!("{path}\n"), ""));
}

#[test]
fn what_a_command_leaves_running_is_not_waited_for_and_may_go_on_printing() {
    let (_guest, session) = Guest::session();
    let directory = tempfile::tempdir().unwrap();
    let done = directory.path().join("done");
    let line =
        format!("(sleep 0.2; yes | head -c 200000; echo more; echo more >&2; touch {}) & echo started", done.display());
    assert_eq!(ran(&session, &shell(&line)), said(0, "started\n", ""));
    let (status, stdout, pid) = ran(&session, &shell("yes & echo \"$!\" >&2; sleep 0.1; exit 4"));
    assert!(status == 4 && stdout.starts_with("y\n"));
    let stop = stop();
    while !done.exists() {
        stop.check(|| "what was left running".to_string()).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(ran(&session, &Command::argv(["kill", pid.trim()])).0, 0);
}

#[test]
fn a_command_begins_before_its_input_has_come_and_reads_it_as_it_comes() {
    let (_guest, session) = Guest::session();
    let (sender, open) = mpsc::sync_channel(4);
    // A command that does not read is not waited for, and what it left unread is not passed to the next one.
    assert_eq!(ran_with(&session, &Command::argv(["echo", "there"]), Source::Live(&open, &no_signals())).1, "there\n");
    sender.send(Ok(vec![b'x'; 1 << 20])).unwrap();
    assert_eq!(ran_with(&session, &Command::argv(["true"]), Source::Live(&open, &no_signals())).0, 0);
    sender.send(Ok(vec![b'x'; 1 << 20])).unwrap();
    assert_eq!(
        ran_with(&session, &shell("head -c 1 >/dev/null; exec <&-; sleep 0.1"), Source::Live(&open, &no_signals())).0,
        0
    );

    let mut said = String::new();
    let mut echo = |_, data: &[u8]| {
        said.push_str(std::str::from_utf8(data).unwrap());
        match said.as_str() {
            "one" => sender.send(Ok(b" two".to_vec())).unwrap(),
            "one two" => sender.send(Err(Error::failed("no more"))).unwrap(),
            _ => {}
        }
    };
    sender.send(Ok(b"one".to_vec())).unwrap();
    let error = text_of(session.run(&Command::argv(["cat"]), Source::Live(&open, &no_signals()), &mut echo, &stop()));
    assert_eq!((error.as_str(), said.as_str()), ("no more", "one two"));
}

#[test]
fn input_of_every_length_arrives_whole() {
    let (_guest, session) = Guest::session();
    for length in [0, 1, 32 << 10, (32 << 10) + 1, 256 << 10, (256 << 10) + 1, 3_000_000] {
        let bytes: Vec<u8> = (0..length).map(|n: usize| (n * 7 + n / 251) as u8).collect();
        let ended = input([&bytes]);
        for source in [Source::Whole(&bytes), Source::Live(&ended, &no_signals())] {
            let mut back: Vec<u8> = Vec::new();
            let exit = session.run(&Command::argv(["cat"]), source, &mut |_, data| back.extend(data), &stop());
            assert_eq!((exit.unwrap(), back.len()), (Exit(0), length));
            assert!(back == bytes, "{length} bytes came back changed");
        }
    }
}

#[test]
fn what_cannot_be_run_is_said_as_a_shell_does() {
    let (_guest, session) = Guest::session();
    let fails = |command: &Command| {
        let (status, stdout, stderr) = ran(&session, command);
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
    let long = "x".repeat(1 << 17);
    assert_eq!(fails(&Command::argv(["true", &long])), said(126, "true: argument list too long\n"));
    // As much as Linux takes, in more than one frame.
    let words: Vec<String> =
        ["true"].into_iter().map(str::to_string).chain((0..10).map(|_| "x".repeat(100_000))).collect();
    assert_eq!(fails(&Command::new(CommandLine::Argv(words))), said(0, ""));
    let words = ["true"].into_iter().map(str::to_string).chain((0..50).map(|_| "x".repeat(100_000))).collect();
    let error = session.run(&Command::new(CommandLine::Argv(words)), Source::Whole(&[]), &mut |_, _| {}, &stop());
    let title = format!("true {}", "x".repeat(55));
    assert_eq!(text_of(error), format!("cannot run `{title}...` in the guest: Argument list too long"));
}

#[test]
fn a_script_that_names_no_shell_is_one_of_the_shell() {
    let (_guest, session) = Guest::session();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("script");
    std::fs::write(&file, "echo \"$1\" \"$#\"\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    let command = Command::argv([file.to_str().unwrap(), "a b", "c"]);
    assert_eq!(ran(&session, &command), said(0, "a b 2\n", ""));
}

#[test]
fn a_hundred_commands_run_at_once() {
    let (_guest, session) = Guest::session();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..100 {
            let session = &session;
            scope.spawn(move || {
                let command = Command { stdin: format!("{number}\n").into_bytes(), ..shell("sleep 0.5; cat; exit 5") };
                assert_eq!(ran(session, &command), said(5, &format!("{number}\n"), ""));
            });
        }
    });
    assert!(started.elapsed() < Duration::from_secs(25), "one after the other");
}

#[test]
fn output_that_is_not_taken_stays_with_the_command() {
    let (guest, session) = Guest::session();
    let mut taken = 0;
    let mut most = 0;
    let mut slowly = |_, bytes: &[u8]| {
        if taken < 1 << 20 {
            std::thread::sleep(Duration::from_millis(5));
            let status = std::fs::read_to_string(format!("/proc/{}/statm", guest.child.id())).unwrap();
            let pages: usize = status.split(' ').nth(1).unwrap().parse().unwrap();
            most = most.max(pages * 4096);
        }
        taken += bytes.len();
    };
    let exit = session.run(&shell("yes | head -c 50000000"), Source::Whole(&[]), &mut slowly, &stop()).unwrap();
    assert_eq!((exit, taken), (Exit(0), 50_000_000));
    assert!(most < 4 << 20, "{most} bytes of memory");
}

#[test]
fn a_command_that_is_stopped_is_killed_with_all_that_it_started() {
    let (_guest, session) = Guest::session();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pids");
    let line = format!(
        "sleep 1000 & echo $! >{0}; setsid sleep 1000 & echo $! >>{0}; echo $$ >>{0}; echo there; wait",
        file.display()
    );
    let mut printed = Vec::new();
    let stop = Stop::after(Duration::from_millis(500), &Interrupt::default());
    let error =
        session.run(&shell(&line), Source::Whole(&[]), &mut |_, bytes| printed.extend(bytes), &stop).unwrap_err();
    let Trouble::Failed(error) = error else { panic!("{error:?}") };
    assert_eq!((error.kind, printed.as_slice()), (Kind::Timeout, &b"there\n"[..]));
    assert!(error.message.ends_with(" in the guest timed out after 500ms"), "{}", error.message);
    let pids = std::fs::read_to_string(&file).unwrap();
    assert_eq!(pids.lines().count(), 3);
    pids.lines().for_each(wait_for_process_end);
    assert_eq!(ran(&session, &Command::argv(["echo", "next"])), said(0, "next\n", ""));
}

#[test]
fn a_line_that_is_cut_ends_what_was_under_way() {
    let (guest, session) = Guest::session();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let command = shell(&format!("echo $$ >{}; echo; sleep 1000", file.display()));
    let stop = stop();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| session.run(&command, Source::Whole(&[]), &mut |_, _| {}, &stop));
        while !std::fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n')) {
            std::thread::sleep(Duration::from_millis(5));
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&guest.child), rustix::process::Signal::KILL)
            .unwrap();
        let error = text_of(running.join().unwrap());
        let title = command.line.title();
        assert_eq!(error, format!("lost `{title}` in the guest: the guest has stopped"));
    });
    let pid = std::fs::read_to_string(&file).unwrap();
    let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process_group(pid, rustix::process::Signal::KILL).unwrap();

    // The host's end.
    let (guest, session) = Guest::session();
    std::fs::remove_file(&file).unwrap();
    std::thread::scope(|scope| {
        let stop = Stop::after(Duration::from_secs(20), &Interrupt::default());
        let running = scope.spawn(move || {
            let request = session
                .request(super::super::frame::Kind::Execute, &super::super::requests::execute(&command, false, 0));
            while !std::fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n')) {
                stop.check(|| "the command".to_string()).unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
            std::mem::forget(request);
            drop(session);
            std::fs::read_to_string(&file).unwrap()
        });
        wait_for_process_end(running.join().unwrap().trim());
    });
    guest.wait_for_end();
}

/// A line that is the host's end of a terminal, which ends for the guest as a port does.
struct Terminal(OwnedFd);

impl Port for Terminal {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.0, bytes)?)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(&self.0, buffer)?)
    }

    fn wait(&mut self, _bell: BorrowedFd<'_>, _to_send: bool) {
        std::thread::sleep(Duration::from_millis(5));
    }

    fn is_waited_at(&mut self) -> bool {
        true
    }
}

#[test]
fn it_waits_in_the_background_until_its_port_is_gone() {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    fcntl_setfl(&terminal, OFlags::NONBLOCK).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    assert!(Process::new("stty").args(["-F", &name, "raw", "-echo"]).status().unwrap().success());
    let (_directory, file) = program();
    let started = loop {
        match Process::new(&file).arg(&name).env("PATH", "/usr/bin:/bin").status() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {}
            started => break started.unwrap(),
        }
    };
    assert!(started.success());
    let session = Session::open(Box::new(Terminal(terminal))).unwrap();
    let pid = ran(&session, &shell("echo $PPID; pwd")).1;
    let (pid, directory) = pid.trim_end().split_once('\n').unwrap();
    assert_eq!(directory, "/");
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(line.starts_with(file.as_os_str().as_encoded_bytes()));
    drop(session);
    wait_for_process_end(pid);
}
