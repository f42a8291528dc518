//! One connection to the program in a guest.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::channel::frame::Kind;
use crate::channel::hello::{Refused, greet};
use crate::channel::line::{Line, RESTARTED};
use crate::channel::port::Port;
use crate::channel::stream::{Outlet, Relay, Shared, Stream};

/// A connection; several threads may use it at once. Dropping it hangs up, and the guest ends what is under way.
pub struct Session {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Session {
    /// Begins a connection.
    pub fn open(mut port: Box<dyn Port>) -> Result<Self, Refused> {
        let silent = |error: io::Error| Refused::Silent(error.to_string());
        let shared = Shared::new(uuid::Uuid::new_v4().into_bytes()).map(Arc::new).map_err(silent)?;
        let incoming = greet(&mut *port, shared.bell(), &shared.nonce)?;
        let line = Line::new(port, Arc::clone(&shared), incoming);
        let thread = std::thread::Builder::new().name("channel".to_string()).spawn(|| line.serve()).map_err(silent)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Returns why the connection has ended, if it has.
    pub fn over(&self) -> Option<String> {
        self.shared.over()
    }

    /// Sends a request, under a stream of its own.
    pub fn request(&self, kind: Kind, content: &[u8]) -> Stream {
        self.shared.request(kind, content)
    }

    /// Sends the request of another process, which has this number for its stream.
    pub fn relay(&self, kind: Kind, content: &[u8], theirs: u32, relay: Arc<dyn Relay>) -> Outlet {
        self.shared.relay(kind, content, theirs, relay)
    }

    /// Ends the connection, and all that is under way.
    pub fn hang_up(&self) {
        self.shared.end("it was closed");
        self.shared.ring();
    }

    /// Says whether the connection has ended because the guest restarted.
    pub fn has_restarted(&self) -> bool {
        self.over().is_some_and(|why| why == RESTARTED)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.hang_up();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
