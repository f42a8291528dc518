//! Waking a guest that resumes from a frozen state.

use std::collections::VecDeque;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::agent::calls::Calls;
use crate::agent::file;
use crate::agent::program::finish;
use crate::agent::transport::{Port, Transport, TransportError};
use crate::agent::wrapper::{title, words};
use crate::error::Result;
use crate::hypervisor::{Command, Exit, Input, Stream};
use crate::stop::Stop;

/// The name of the port that the program waits at in the guest.
pub const PORT: &str = "org.snaptree.waker.0";
/// The program itself, from `waker.c`; empty where there is none.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/waker"));
/// Its path in the guest: in memory, and so on no disk.
const FILE: &str = "/run/snaptree-waker";
/// Syncs the disks, installs the program, and lets it wait at its port if the domain has one. A guest without room for
/// it is woken by `date`. The programs that the wrapper of commands runs are then in the guest's memory too, so that
/// resumed guests need not read them from the disk.
const SETTLE: &str = r#"
sync || exit
head -c 1 </dev/null
[ -x "$0" ] || (umask 077; cat >"$0" && chmod 700 "$0" || rm -f "$0") 2>/dev/null
for port in /sys/class/virtio-ports/*; do
    read -r name <"$port/name" && [ "$name" = "$1" ] && "$0" "/dev/${port##*/}"
done 2>/dev/null
exit 0"#;
const WAKE: &str = r#"/run/snaptree-waker "$1" "$2" 2>/dev/null || date -u -s "@$1""#;

const HEADER: usize = 5;
/// The most that a frame carries, in both directions; a request is longer.
const PIECE: usize = 16 << 10;
/// How long to wait when nothing has arrived: a little longer each time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Returns the command that prepares a guest for being frozen.
pub fn settle() -> Command {
    match PROGRAM {
        [] => Command::argv(["sync"]),
        _ => Command { stdin: PROGRAM.to_vec(), ..Command::argv(["/bin/sh", "-c", SETTLE, FILE, PORT]) },
    }
}

/// Wakes a guest in which no program waits at the port; says whether that worked.
pub fn wake_by_agent<T: Transport>(calls: &Calls<T>) -> Result<bool, TransportError> {
    let arguments = ["-c", WAKE, "sh", &time().as_secs().to_string(), &seed()];
    finish(calls, "/bin/sh", &arguments).map(|status| status.exit_code == Some(0))
}

/// Returns the time since the epoch.
pub fn time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Makes a seed for a guest's random numbers.
fn seed() -> String {
    let half = || uuid::Uuid::new_v4().simple().to_string();
    half() + &half()
}

/// The program that waits in a guest, at the other end of its port.
pub struct Waker {
    port: Box<dyn Port>,
    /// What the line has not accepted yet.
    to_send: VecDeque<u8>,
    /// What has arrived of the next frame.
    received: Vec<u8>,
    pause: Duration,
    /// Whether it takes a command's input while that runs; those of older snaptrees do not.
    pub takes_input: bool,
}

impl Waker {
    pub fn new(port: Box<dyn Port>) -> Self {
        Self { port, to_send: VecDeque::new(), received: Vec::new(), pause: SHORTEST_PAUSE, takes_input: false }
    }

    /// Wakes the guest; says whether its clock could be set.
    pub fn wake(&mut self, stop: &Stop) -> Result<bool> {
        let failed = |error| file::failure("cannot wake the guest", &error);
        let time = time();
        let request =
            [&time.as_secs().to_le_bytes()[..], &time.subsec_nanos().to_le_bytes(), seed().as_bytes()].concat();
        self.to_send.extend(frame(b'W', &request));
        loop {
            stop.check(|| "waiting for the guest".to_string())?;
            match self.receive().map_err(failed)? {
                Some((b'w', answer)) => {
                    self.takes_input = answer.get(1) == Some(&1);
                    return Ok(answer.first() == Some(&1));
                }
                // One installed by an older snaptree.
                Some((b'u', _)) => return Ok(false),
                _ => {}
            }
        }
    }

    /// Says whether a command can be run here: the output of another user goes into files that belong to that user.
    pub fn takes(&self, command: &Command) -> bool {
        self.takes_input && command.user.is_none()
    }

    /// Runs a command, passing its input and output on as they arrive. If `stop` ends the wait, it is left alone.
    pub fn run(
        &mut self,
        command: &Command,
        input: &Input,
        output: &mut dyn FnMut(Stream, &[u8]),
        stop: &Stop,
    ) -> Result<Exit> {
        let title = title(&command.line);
        let failed = |error| file::failure(&format!("cannot run `{title}` in the guest"), &error);
        self.to_send.extend(frame(b'R', &request(command)));
        let mut has_ended = false;
        loop {
            stop.check(|| format!("`{title}` in the guest"))?;
            if !has_ended && self.to_send.len() < PIECE {
                has_ended = self.take_input(input)?;
            }
            match self.receive().map_err(failed)? {
                Some((b'o', bytes)) => output(Stream::Stdout, &bytes),
                Some((b'e', bytes)) => output(Stream::Stderr, &bytes),
                Some((b'x', status)) => {
                    let status = <[u8; 4]>::try_from(status).map_err(|_| failed(garbled()))?;
                    return Ok(Exit(i32::from_le_bytes(status)));
                }
                _ => {}
            }
        }
    }

    /// Makes frames of the input that has arrived; says whether it has ended.
    fn take_input(&mut self, input: &Input) -> Result<bool> {
        match input.try_recv() {
            Ok(bytes) => {
                bytes?.chunks(PIECE).for_each(|piece| self.to_send.extend(frame(b'I', piece)));
                Ok(false)
            }
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => {
                self.to_send.extend(frame(b'I', &[]));
                Ok(true)
            }
        }
    }

    /// Sends as much as the line accepts. If it has ended, that shows once everything that arrived has been read.
    fn send(&mut self) -> Result<(), TransportError> {
        while !self.to_send.is_empty() {
            match self.port.send(self.to_send.make_contiguous()) {
                Ok(0) | Err(TransportError::Gone(_)) => break,
                Ok(length) => {
                    self.to_send.drain(..length);
                    self.pause = SHORTEST_PAUSE;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends what is pending and waits a moment for the next frame: its letter and what it carries.
    fn receive(&mut self) -> Result<Option<(u8, Vec<u8>)>, TransportError> {
        let mut buffer = [0; PIECE];
        self.send()?;
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(Some(frame));
            }
            match self.port.receive(&mut buffer)? {
                Some(0) => return Err(TransportError::Gone("the guest's end of the line is gone".to_string())),
                Some(length) => {
                    self.received.extend(&buffer[..length]);
                    self.pause = SHORTEST_PAUSE;
                }
                None => {
                    std::thread::sleep(self.pause);
                    self.pause = (self.pause * 51 / 50).min(LONGEST_PAUSE);
                    return Ok(None);
                }
            }
        }
    }

    fn take_frame(&mut self) -> Result<Option<(u8, Vec<u8>)>, TransportError> {
        let Some((header, rest)) = self.received.split_first_chunk::<HEADER>() else { return Ok(None) };
        let [letter, length @ ..] = *header;
        let length = u32::from_le_bytes(length) as usize;
        if !b"hwoexu".contains(&letter) || length > PIECE {
            return Err(garbled());
        }
        let Some(content) = rest.get(..length).map(<[u8]>::to_vec) else { return Ok(None) };
        self.received.drain(..HEADER + length);
        Ok(Some((letter, content)))
    }
}

fn garbled() -> TransportError {
    TransportError::Other("cannot understand what the guest's end of the line sends".to_string())
}

fn request(command: &Command) -> Vec<u8> {
    let words = words(command);
    let mut request = number(words.len()).to_vec();
    for word in [command.cwd.as_deref().unwrap_or_default()].into_iter().chain(words.iter().map(String::as_str)) {
        request.extend(word.bytes().chain([0]));
    }
    request
}

fn number(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes()
}

fn frame(letter: u8, content: &[u8]) -> Vec<u8> {
    [&[letter], &number(content.len())[..], content].concat()
}
