//! The console of a fake domain: a shell that runs lines as the guest runs commands.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::hypervisor::{Command, CommandLine, Console, Exit, Guest};
use crate::stop::{Interrupt, Stop};

const PROMPT: &[u8] = b"# ";
const CTRL_C: u8 = 0x03;
/// A line that takes long is no reason to end it.
const LIMIT: Duration = Duration::from_secs(24 * 3600);
const BACKSPACES: [u8; 2] = [0x08, 0x7f];

/// Typed text is echoed and runs at the line's end; Ctrl-C ends it; `exit` and `poweroff` stop the guest.
pub struct FakeConsole(Arc<Shared>);

/// Returns what a console prints when it is opened, or after a line in place of running it as a command.
pub type Script = Box<dyn Fn(Option<&str>) -> Option<String> + Send + Sync>;

struct Shared {
    guest: Box<dyn Guest>,
    is_terminal: bool,
    script: Script,
    screen: Mutex<Screen>,
    changed: Condvar,
}

#[derive(Default)]
struct Screen {
    /// What was printed and not read yet.
    output: Vec<u8>,
    line: Vec<u8>,
    /// What ends the running line.
    running: Option<Interrupt>,
    /// What was typed meanwhile.
    ahead: Vec<u8>,
    closed: bool,
    /// Of a terminal: how its command has ended.
    exit: Option<Exit>,
}

impl FakeConsole {
    /// Makes a terminal for a command: a login shell, or one that ends by itself.
    pub fn terminal(guest: Box<dyn Guest>, command: &Command) -> Self {
        let console = Self::on(guest, true, Box::new(|_| None));
        match &command.line {
            CommandLine::Argv(words) if words.get(3).is_some_and(|word| word == "login") => {
                console.0.screen().print(PROMPT);
            }
            _ => {
                let mut screen = console.0.screen();
                console.0.start(&mut screen, command.clone());
            }
        }
        console
    }

    /// Opens the serial console.
    pub fn new(guest: Box<dyn Guest>, script: Script) -> Self {
        let first = script(None).unwrap_or_default();
        let console = Self::on(guest, false, script);
        console.0.screen().print(first.as_bytes());
        console
    }

    fn on(guest: Box<dyn Guest>, is_terminal: bool, script: Script) -> Self {
        Self(Arc::new(Shared { guest, is_terminal, script, screen: Mutex::default(), changed: Condvar::new() }))
    }
}

impl Console for FakeConsole {
    fn read(&self, buffer: &mut [u8]) -> Result<usize> {
        const LOOK_AT_DOMAIN: Duration = Duration::from_millis(50);
        let mut screen = self.0.screen();
        while screen.output.is_empty() && !screen.closed {
            let waited = self.0.changed.wait_for(&mut screen, LOOK_AT_DOMAIN);
            screen.closed |= waited.timed_out() && !self.0.is_there();
        }
        let length = screen.output.len().min(buffer.len());
        buffer[..length].copy_from_slice(&screen.output[..length]);
        screen.output.drain(..length);
        Ok(length)
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        let mut screen = self.0.screen();
        for byte in bytes {
            self.0.typed(&mut screen, *byte);
        }
        self.0.changed.notify_all();
        Ok(())
    }

    fn close(&self) {
        let mut screen = self.0.screen();
        screen.closed = true;
        if let Some(running) = &screen.running {
            running.raise();
        }
        self.0.changed.notify_all();
    }

    fn device(&self) -> Option<&str> {
        Some("/dev/ttyS0")
    }

    fn resize(&self, _rows: u16, _columns: u16) -> bool {
        self.0.is_terminal
    }

    fn exit(&self) -> Option<Exit> {
        self.0.screen().exit
    }
}

impl Shared {
    /// Says whether the domain is still active.
    fn is_there(&self) -> bool {
        self.guest.time(&Stop::after(LIMIT, &Interrupt::default())).is_ok()
    }

    fn screen(&self) -> MutexGuard<'_, Screen> {
        self.screen.lock()
    }

    fn typed(self: &Arc<Self>, screen: &mut Screen, byte: u8) {
        match (byte, &screen.running) {
            (CTRL_C, Some(running)) => {
                running.raise();
                screen.print(b"^C\n");
            }
            (_, Some(_)) => screen.ahead.push(byte),
            (CTRL_C, None) => {
                screen.line.clear();
                screen.print(b"^C\n");
                screen.print(PROMPT);
            }
            (b'\r' | b'\n', None) => {
                screen.print(b"\n");
                let line = std::mem::take(&mut screen.line);
                self.run(screen, String::from_utf8_lossy(&line).trim());
            }
            (byte, None) if BACKSPACES.contains(&byte) => {
                if screen.line.pop().is_some() {
                    screen.print(b"\x08 \x08");
                }
            }
            (byte, None) => {
                screen.line.push(byte);
                screen.print(&[byte]);
            }
        }
    }

    fn run(self: &Arc<Self>, screen: &mut Screen, line: &str) {
        if let Some(prints) = (self.script)(Some(line)) {
            return screen.print(prints.as_bytes());
        }
        match line {
            "" => screen.print(PROMPT),
            "exit" if self.is_terminal => {
                screen.exit = Some(Exit(0));
                screen.closed = true;
            }
            "exit" | "poweroff" => {
                // A guest that cannot be stopped has stopped already.
                let _ = self.guest.shutdown(&Stop::after(LIMIT, &Interrupt::default()));
                screen.closed = true;
            }
            line => self.start(screen, Command::new(CommandLine::Shell(line.to_string()))),
        }
    }

    /// Runs a command; a terminal that has no shell ends with it.
    fn start(self: &Arc<Self>, screen: &mut Screen, command: Command) {
        let interrupt = Interrupt::default();
        let stop = Stop::after(LIMIT, &interrupt);
        screen.running = Some(interrupt);
        let (shared, has_shell) = (Arc::clone(self), !matches!(command.line, CommandLine::Argv(_)));
        std::thread::spawn(move || {
            let print = |bytes: &[u8]| {
                shared.screen().print(bytes);
                shared.changed.notify_all();
            };
            // A failure is Ctrl-C or the end of the guest.
            let exit = shared.guest.run(&command, &mut |_, bytes| print(bytes), &stop);
            let mut screen = shared.screen();
            screen.running = None;
            if has_shell {
                screen.print(PROMPT);
            } else {
                screen.exit = Some(exit.unwrap_or(Exit(130)));
                screen.closed = true;
            }
            for byte in std::mem::take(&mut screen.ahead) {
                shared.typed(&mut screen, byte);
            }
            shared.changed.notify_all();
        });
    }
}

impl Screen {
    fn print(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.output.push(b'\r');
            }
            self.output.push(*byte);
        }
    }
}
