//! Signals on their way to a command in a guest.

use std::sync::mpsc;
use std::thread::JoinHandle;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::{Handle, Signals as Arriving};
use signal_hook::low_level;

use crate::cli::common::session::{AtCtrlC, Session, interrupt_on_signals};
use crate::error::{Because, Kind, Result};
use crate::hypervisor::Signals;
use crate::signals::is_ignored;
use crate::stop::Interrupt;

/// The signals that ask a command to end.
const ENDING: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];
const OTHER: [i32; 2] = [SIGUSR1, SIGUSR2];

/// Passes signals on while it exists. The second one that asks the command to end interrupts the work instead, and the
/// third ends the process at once.
pub struct SignalRelay {
    interrupt: Interrupt,
    arriving: Handle,
    thread: Option<JoinHandle<()>>,
}

impl SignalRelay {
    /// Begins to pass signals on, in the place of what a session does with them.
    pub fn start(session: &Session) -> Result<(Self, Signals)> {
        let cannot = || "cannot handle signals".to_string();
        let interrupt = session.engine.interrupt.clone();
        let signals = ENDING.into_iter().chain(OTHER).filter(|signal| !is_ignored(*signal));
        let mut arriving = Arriving::new(signals).because(cannot)?;
        session.handlers.iter().for_each(|handler| {
            low_level::unregister(*handler);
        });
        let (sender, receiver) = mpsc::channel();
        let (handle, shared) = (arriving.handle(), interrupt.clone());
        let pass_on = move || {
            let mut ending = 0;
            for signal in arriving.forever() {
                ending += i32::from(ENDING.contains(&signal));
                match (ENDING.contains(&signal), ending) {
                    (true, 2) => shared.raise_for_good(),
                    (true, 3..) => low_level::exit(Kind::Interrupted.exit_code()),
                    // The command may have ended just now.
                    _ => drop(sender.send(signal)),
                }
            }
        };
        let thread = std::thread::Builder::new().name("signals".to_string()).spawn(pass_on).because(cannot)?;
        Ok((Self { interrupt, arriving: handle, thread: Some(thread) }, receiver))
    }
}

impl Drop for SignalRelay {
    fn drop(&mut self) {
        // Without handlers, a signal would do nothing.
        let _ = interrupt_on_signals(&self.interrupt, AtCtrlC::End);
        self.arriving.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
