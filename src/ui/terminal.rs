//! Connects the user's terminal to a guest: raw mode, its size, and bytes in both directions.

use std::fmt;
use std::io::{self, IsTerminal, Read, Stdin, Write};
use std::os::unix::net::UnixStream;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::termios::{self, OptionalActions, QueueSelector, Termios};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::low_level::{pipe, unregister};

use super::outlets::write_all;
use crate::error::{Because, Error, Result};
use crate::hypervisor::Exit;
use crate::signals;
use crate::stop::Interrupt;
use crate::tree::GuestConsole;

/// The key that leaves a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaveKey(u8);

impl FromStr for LeaveKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.as_bytes() {
            [b'^', letter] if (b'@'..=b'_').contains(&letter.to_ascii_uppercase()) => {
                Ok(Self(letter.to_ascii_uppercase() - b'@'))
            }
            [key] if key.is_ascii_graphic() => Ok(Self(*key)),
            _ => Err("it is `^` and one of A to Z, @, [, \\, ], ^ and _, or a single sign"),
        }
    }
}

impl fmt::Display for LeaveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            control @ ..0x20 => write!(f, "Ctrl-{}", char::from(control + b'@')),
            key => write!(f, "{}", char::from(key)),
        }
    }
}

/// How a session at a console ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By the leave key, or by the end of the input.
    Left,
    /// The guest has closed its console.
    ShutDown,
    /// The command on the guest's terminal has ended.
    Exited(Exit),
}

/// The user's terminal.
pub struct Terminal(());

impl Terminal {
    /// Says whether input and output are both a terminal.
    pub fn is_there() -> bool {
        io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    /// Returns the terminal that the standard input and output both are, for a command that needs it.
    pub fn open(command: &str) -> Result<Self> {
        let missing = match (io::stdin().is_terminal(), io::stdout().is_terminal()) {
            (true, true) => return Ok(Self(())),
            (false, _) => "input",
            (true, false) => "output",
        };
        Err(Error::usage(format!("`snaptree {command}` needs a terminal"))
            .cause(format!("the standard {missing} is not one"))
            .hint("`snaptree exec MACHINE/SNAPSHOT -- CMD...` runs a command without one"))
    }

    /// Returns its rows and columns; 24 by 80 if it knows none.
    pub fn size(&self) -> (u16, u16) {
        match Size::now() {
            Size { rows: 0, .. } | Size { columns: 0, .. } => (24, 80),
            Size { rows, columns } => (rows, columns),
        }
    }

    /// Connects the terminal to a console, until the leave key or the end of the guest.
    pub fn attach(self, console: GuestConsole, leave: Option<LeaveKey>, interrupt: &Interrupt) -> Result<End> {
        let raw = RawMode::enter()?;
        let mut terminal = ShellTerminal::new(console, interrupt)?;
        let end = terminal.attend(leave, interrupt);
        // First, because a hanging hypervisor could prevent the console from being closed.
        drop(raw);
        terminal.clear();
        end
    }
}

/// Waits until a line was typed, or the terminal has gone.
pub fn wait_for_line(interrupt: &Interrupt) -> Result<()> {
    const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    let stdin = io::stdin();
    loop {
        interrupt.check()?;
        match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&TICK)) {
            Ok(0) | Err(Errno::INTR) => {}
            // Reading will report what is wrong.
            _ => return Ok(()),
        }
    }
}

/// A terminal's settings.
pub struct Settings(Termios);

impl Settings {
    pub fn now() -> Option<Self> {
        termios::tcgetattr(io::stdin()).ok().map(Self)
    }

    /// Restores them if the terminal is still there, and turns off bracketed paste.
    pub fn restore(self) {
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
        let _ = write_all(&mut io::stdout().lock(), b"\x1b[?2004l\r\n");
    }
}

/// Raw mode, without echo, while this lives.
struct RawMode {
    before: Termios,
}

impl RawMode {
    fn enter() -> Result<Self> {
        let cannot = || "cannot set the terminal up".to_string();
        let before = termios::tcgetattr(io::stdin()).because(cannot)?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw).because(cannot)?;
        Ok(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Keys meant for the guest must not reach the user's shell. Waiting for the output to drain could take
        // forever. A terminal that has gone needs neither.
        let _ = termios::tcflush(io::stdin(), QueueSelector::IFlush);
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The terminal's size; 0 by 0 when it knows none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    rows: u16,
    columns: u16,
}

impl Size {
    fn now() -> Self {
        let size = termios::tcgetwinsize(io::stdin());
        size.map(|size| Self { rows: size.ws_row, columns: size.ws_col }).unwrap_or_default()
    }
}

/// Moves bytes between the terminal and a console. Threads wait for the guest, so that the leave key works whatever
/// the guest does.
struct ShellTerminal {
    console: Arc<GuestConsole>,
    size: Size,
    sizes: Sender<Size>,
    keys: Sender<Vec<u8>>,
    output: Receiver<Result<()>>,
    /// Whether the guest left the cursor in the middle of a line.
    in_line: Arc<AtomicBool>,
    /// Readable when a signal has arrived or the output has ended.
    bell: UnixStream,
    signals: Vec<SigId>,
}

impl ShellTerminal {
    fn new(console: GuestConsole, interrupt: &Interrupt) -> Result<Self> {
        let cannot = || "cannot listen to the terminal".to_string();
        let (bell, ringer) = UnixStream::pair().because(cannot)?;
        bell.set_nonblocking(true).because(cannot)?;
        let mut signals = Vec::new();
        for signal in [SIGWINCH, SIGINT, SIGTERM, SIGHUP, SIGQUIT].into_iter().filter(|it| !signals::is_ignored(*it)) {
            if signal == SIGQUIT {
                // Otherwise it would end the process and leave the terminal in raw mode.
                signals.push(signal_hook::flag::register(signal, Arc::clone(&interrupt.flag)).because(cannot)?);
            }
            let ringer = ringer.try_clone().because(cannot)?;
            signals.push(pipe::register(signal, ringer).because(cannot)?);
        }
        let (console, in_line, size) = (Arc::new(console), Arc::default(), Size::now());
        Ok(Self {
            sizes: spawn_sizer(&console, size),
            keys: spawn_typist(&console),
            output: spawn_printer(&console, &in_line, ringer),
            console,
            size,
            in_line,
            bell,
            signals,
        })
    }

    fn attend(&mut self, leave: Option<LeaveKey>, interrupt: &Interrupt) -> Result<End> {
        let stdin = io::stdin();
        let mut typed = [0; 4096];
        loop {
            let is_typing = self.wait(&stdin)?;
            interrupt.check()?;
            match self.output.try_recv() {
                Ok(ended) => {
                    let exit = self.console.console().exit();
                    return ended.map(|()| exit.map_or(End::ShutDown, End::Exited));
                }
                Err(TryRecvError::Disconnected) => return Err(Error::bug("the guest's output was lost")),
                Err(TryRecvError::Empty) => {}
            }
            let size = Size::now();
            if size != self.size {
                self.size = size;
                let _ = self.sizes.send(size);
            }
            if !is_typing {
                continue;
            }
            // Not through the standard library, which buffers what it reads ahead.
            let length = match rustix::io::read(&stdin, &mut typed) {
                Ok(length) => length,
                Err(Errno::INTR | Errno::AGAIN) => continue,
                Err(cause) => return Err(Error::failed("cannot read from the terminal").cause(cause)),
            };
            let leaves = leave.and_then(|leave| typed[..length].iter().position(|key| *key == leave.0));
            // If the receiver of the keys is gone, the output ends too.
            let _ = self.keys.send(typed[..leaves.unwrap_or(length)].to_vec());
            if leaves.is_some() || length == 0 {
                return Ok(End::Left);
            }
        }
    }

    /// Waits for keys or the bell; says whether there are keys.
    fn wait(&mut self, stdin: &Stdin) -> Result<bool> {
        let mut sources = [PollFd::new(stdin, PollFlags::IN), PollFd::new(&self.bell, PollFlags::IN)];
        match poll(&mut sources, None) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(false),
            Err(cause) => return Err(Error::failed("cannot wait for the terminal").cause(cause)),
        }
        let is_typing = !sources[0].revents().is_empty();
        // However often it rang.
        let _ = (&self.bell).read(&mut [0; 64]);
        Ok(is_typing)
    }

    /// Closes the console, and moves the cursor to the beginning of a line.
    fn clear(self) {
        const LAST_WORDS: Duration = Duration::from_secs(1);
        for signal in &self.signals {
            unregister(*signal);
        }
        self.console.console().close();
        let _ = self.output.recv_timeout(LAST_WORDS);
        if self.in_line.load(Ordering::SeqCst) {
            // If the terminal is gone, this does not matter.
            let _ = write_all(&mut io::stdout().lock(), b"\n");
        }
    }
}

/// Starts to tell the guest the terminal's size, and then makes it show a prompt.
fn spawn_sizer(console: &Arc<GuestConsole>, first: Size) -> Sender<Size> {
    let (sizes, changes) = mpsc::channel::<Size>();
    let console = Arc::clone(console);
    std::thread::spawn(move || {
        let tell = |size: Size| {
            if size.rows > 0 && size.columns > 0 {
                console.resize(size.rows, size.columns);
            }
        };
        tell(first);
        // An error that prevents this also ends the output.
        let _ = console.greet();
        while let Ok(size) = changes.recv() {
            // While a window is resized, only its final size matters.
            tell(changes.try_iter().last().unwrap_or(size));
        }
    });
    sizes
}

/// Starts to send keys to the guest.
fn spawn_typist(console: &Arc<GuestConsole>) -> Sender<Vec<u8>> {
    let (keys, typed) = mpsc::channel::<Vec<u8>>();
    let console = Arc::clone(console);
    std::thread::spawn(move || typed.iter().try_for_each(|keys| console.console().write(&keys)));
    keys
}

/// Starts to print the guest's output; reports how that ended, and rings.
fn spawn_printer(console: &Arc<GuestConsole>, in_line: &Arc<AtomicBool>, ringer: UnixStream) -> Receiver<Result<()>> {
    let (done, output) = mpsc::channel();
    let (console, in_line) = (Arc::clone(console), Arc::clone(in_line));
    std::thread::spawn(move || {
        let _ring = Ring(ringer);
        // Dropped before the bell rings, so that the receiver learns of the end even after a panic.
        let done = done;
        let _ = done.send(print(&console, &in_line));
    });
    output
}

/// Rings when it is dropped, even by a panic.
struct Ring(UnixStream);

impl Drop for Ring {
    fn drop(&mut self) {
        let _ = self.0.write_all(b"!");
    }
}

fn print(console: &GuestConsole, in_line: &AtomicBool) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match console.console().read(&mut buffer)? {
            0 => return Ok(()),
            length => {
                in_line.store(buffer[length - 1] != b'\n', Ordering::SeqCst);
                let printed = write_all(&mut io::stdout().lock(), &buffer[..length]);
                printed.because(|| "cannot write to the terminal".to_string())?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn leave_keys_are_written_as_in_virsh() {
        for (text, key, shown) in
            [("^]", 0x1d, "Ctrl-]"), ("^a", 1, "Ctrl-A"), ("^A", 1, "Ctrl-A"), ("^@", 0, "Ctrl-@"), ("~", b'~', "~")]
        {
            let parsed: LeaveKey = text.parse().unwrap();
            assert_eq!((parsed, parsed.to_string().as_str()), (LeaveKey(key), shown), "{text}");
        }
        for text in ["", "^", "^1", "ab", "^ab", "é", " "] {
            let parsed = text.parse::<LeaveKey>();
            assert_eq!(parsed.is_err(), text != "^", "{text}");
        }
    }
}
