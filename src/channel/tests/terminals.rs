//! Commands on a terminal, in the program that guests have.

use std::sync::Arc;

use super::super::ChannelTerminal;
use super::*;
use crate::hypervisor::{Console, Exit};

/// Then it is closed, so that a test which waits for more than comes fails.
const LONGEST: Duration = Duration::from_secs(20);

struct Sitting {
    terminal: Arc<ChannelTerminal>,
    seen: String,
    _guest: Guest,
}

impl Sitting {
    fn at(command: &Command) -> Self {
        let (guest, session) = Guest::session();
        let terminal = ChannelTerminal::open(&Arc::new(session), command, 24, 80);
        let terminal = Arc::new(terminal);
        let weak = Arc::downgrade(&terminal);
        std::thread::spawn(move || {
            std::thread::sleep(LONGEST);
            weak.upgrade().inspect(|terminal| terminal.close())
        });
        Self { terminal, seen: String::new(), _guest: guest }
    }

    /// Reads until this was printed.
    fn wait_for(&mut self, text: &str) {
        let stop = stop();
        while !self.seen.contains(text) {
            stop.check(|| format!("{text:?} in {:?}", self.seen)).unwrap();
            let mut buffer = [0; 1000];
            let length = self.terminal.read(&mut buffer).unwrap();
            assert!(length > 0, "it has ended: {:?}", self.seen);
            self.seen.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
        self.seen.clear();
    }

    fn read_to_end(&mut self) -> String {
        let mut buffer = [0; 1000];
        loop {
            match self.terminal.read(&mut buffer).unwrap() {
                0 => return std::mem::take(&mut self.seen),
                length => self.seen.push_str(std::str::from_utf8(&buffer[..length]).unwrap()),
            }
        }
    }
}

#[test]
fn a_terminal_has_a_size_signals_and_an_end() {
    let env = [("PS1".to_string(), "> ".to_string()), ("TERM".to_string(), "xterm".to_string())].into();
    let mut at = Sitting::at(&Command { env, ..Command::argv(["sh"]) });
    at.wait_for("> ");
    let mut ask = |line: &str, answer: &str| {
        at.terminal.write(line.as_bytes()).unwrap();
        at.wait_for(answer);
    };
    ask("tty; stty size; echo $TERM\r", "\r\n24 80\r\nxterm\r\n> ");
    // What is interrupted has the terminal before it says so.
    ask("sh -c 'echo $((6*7)); exec sleep 1000'\r", "\r\n42\r\n");
    ask("\u{3}", "> ");
    ask("sleep 1000 & jobs -p >/dev/null; echo on\r", "\r\non\r\n> ");
    assert!(at.terminal.resize(50, 132));
    at.terminal.write(b"stty size; exit 7\r").unwrap();
    let end = at.read_to_end();
    assert!(end.ends_with("\r\n50 132\r\n"), "{end:?}");
    assert_eq!(at.terminal.exit(), Some(Exit(7)));
}

#[test]
fn all_that_was_printed_comes_before_the_end() {
    let mut at = Sitting::at(&shell("seq 100000; echo wrong >&2"));
    let said = at.read_to_end();
    assert_eq!(said.lines().count(), 100_001);
    assert!(said.ends_with("100000\r\nwrong\r\n"));
    assert_eq!(at.terminal.exit(), Some(Exit(0)));
}

#[test]
fn a_terminal_that_is_closed_hangs_up_and_spares_what_does_not_listen() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pids");
    let line = format!("nohup sleep 1000 >/dev/null 2>&1 & echo $! $$ >{}; echo there; cat", file.display());
    let mut at = Sitting::at(&shell(&line));
    at.wait_for("there");
    at.terminal.close();
    assert_eq!(at.terminal.read(&mut [0; 10]).unwrap(), 0);
    assert_eq!(at.terminal.exit(), None);
    let pids = std::fs::read_to_string(&file).unwrap();
    let (spared, ended) = pids.trim().split_once(' ').unwrap();
    wait_for_process_end(ended);
    let spared = rustix::process::Pid::from_raw(spared.parse().unwrap()).unwrap();
    rustix::process::kill_process(spared, rustix::process::Signal::KILL).unwrap();
}
