//! A TCP connection of the host joined to one in the guest.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::net::sockopt::set_socket_linger;

use crate::channel::frame::{MOST, WINDOW};
use crate::channel::stream::{Answer, Outlet, Stream};

/// How long to wait for the guest before it is waited for again.
const PAUSE: Duration = Duration::from_secs(10);

/// How long a write may block before the end of everything is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The connections of one forwarded port. Closing resets all of them.
#[derive(Default)]
pub struct Connections {
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    ends: HashMap<u64, (TcpStream, Outlet)>,
    last: u64,
    is_closed: bool,
}

impl Connections {
    /// Joins `local` to a connection in the guest until both directions have ended. A failure at one end is a reset at
    /// the other.
    pub fn join(&self, local: TcpStream, stream: Stream) {
        let _ = local.set_nodelay(true);
        let _ = local.set_write_timeout(Some(LOOK_AGAIN));
        let Some(number) = self.enter(&local, stream.outlet()) else { return reset(local) };
        let is_whole = self.relay(&local, stream);
        self.open.lock().ends.remove(&number);
        if !is_whole {
            reset(local);
        }
    }

    fn enter(&self, local: &TcpStream, outlet: &Outlet) -> Option<u64> {
        let mut open = self.open.lock();
        let local = local.try_clone().ok().filter(|_| !open.is_closed)?;
        open.last += 1;
        let number = open.last;
        open.ends.insert(number, (local, outlet.clone()));
        Some(number)
    }

    pub fn close(&self) {
        let mut open = self.open.lock();
        open.is_closed = true;
        for (local, outlet) in open.ends.values() {
            outlet.abandon();
            let _ = set_socket_linger(local, Some(Duration::ZERO));
            // What is blocked in a write looks again soon; ending that direction would tell the peer that it has all.
            let _ = local.shutdown(Shutdown::Read);
        }
    }

    pub fn is_closed(&self) -> bool {
        self.open.lock().is_closed
    }

    /// Moves bytes both ways. Says whether both directions have ended in order.
    fn relay(&self, local: &TcpStream, mut stream: Stream) -> bool {
        let credit = Arc::new(Credit { left: Mutex::new(Some(WINDOW)), changed: Condvar::new() });
        let Ok(reader) = local.try_clone() else { return false };
        let (outlet, its_credit) = (stream.outlet().clone(), Arc::clone(&credit));
        let feeder = std::thread::Builder::new().name("forward".to_string());
        let Ok(feeder) = feeder.spawn(move || feed(reader, &outlet, &its_credit)) else { return false };
        let is_whole = self.deliver(local, &mut stream, &credit);
        credit.end();
        // It may be reading.
        let _ = local.shutdown(Shutdown::Read);
        let _ = feeder.join();
        is_whole
    }

    /// Passes on what the guest sends.
    fn deliver(&self, local: &TcpStream, stream: &mut Stream, credit: &Credit) -> bool {
        loop {
            let is_written = match stream.next(PAUSE) {
                Ok(Some(Answer::Output(bytes))) => self.write(local, &bytes),
                Ok(Some(Answer::End)) => local.shutdown(Shutdown::Write),
                Ok(Some(Answer::More(more))) => {
                    credit.add(more);
                    Ok(())
                }
                Ok(Some(Answer::Done)) => return true,
                Ok(Some(Answer::Failed(_) | Answer::Exit(_))) | Err(_) => return false,
                Ok(Some(Answer::Begun(_) | Answer::Errors(_) | Answer::Accepted(_)) | None) => Ok(()),
            };
            if is_written.is_err() {
                return false;
            }
        }
    }

    /// Writes all of it, or as much as it can before all is closed.
    fn write(&self, mut local: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match local.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => bytes = &bytes[length..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && !self.is_closed() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Closes a connection so that its peer sees a failure.
pub fn reset(local: TcpStream) {
    let _ = set_socket_linger(&local, Some(Duration::ZERO));
}

/// How much may be sent to the guest.
struct Credit {
    /// `None` once nothing may be sent any more.
    left: Mutex<Option<usize>>,
    changed: Condvar,
}

impl Credit {
    fn add(&self, more: usize) {
        if let Some(left) = self.left.lock().as_mut() {
            *left += more;
        }
        self.changed.notify_all();
    }

    fn end(&self) {
        *self.left.lock() = None;
        self.changed.notify_all();
    }

    /// Waits until something may be sent; says how much.
    fn wait(&self) -> Option<usize> {
        let mut left = self.left.lock();
        while *left == Some(0) {
            self.changed.wait(&mut left);
        }
        *left
    }

    /// Takes some of it. Says whether that may still be sent.
    fn take(&self, length: usize) -> bool {
        let mut left = self.left.lock();
        *left = left.map(|left| left.saturating_sub(length));
        left.is_some()
    }
}

/// Passes on what the peer sends, as far as the guest takes it.
fn feed(mut local: TcpStream, outlet: &Outlet, credit: &Credit) {
    let mut piece = vec![0; MOST];
    while let Some(left) = credit.wait() {
        match local.read(&mut piece[..left.min(MOST)]) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // The other thread ends when the guest's end is gone.
            Err(_) => return outlet.abandon(),
            Ok(length) if !credit.take(length) => return,
            Ok(0) => return outlet.end(),
            Ok(length) => outlet.feed(&piece[..length]),
        }
    }
}
