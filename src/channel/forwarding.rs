//! Ports that are forwarded through a channel, both ways.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::channel::connections::{Connections, reset};
use crate::channel::frame::Kind;
use crate::channel::requests::system_error;
use crate::channel::session::Session;
use crate::channel::stream::{Answer, Outlet, Stream};

/// Yields the session of the moment: after a restart of the guest it is another one.
pub type Sessions = Arc<dyn Fn() -> Option<Arc<Session>> + Send + Sync>;

/// How long the guest may take to answer, before it is asked whether all is over.
const PAUSE: Duration = Duration::from_secs(1);
/// How long to wait before a lost port in the guest is opened again.
const AGAIN: Duration = Duration::from_millis(500);
/// How long to wait when no connection can be accepted, such as for a lack of file descriptors.
const BREATH: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A forwarded port. Dropping it closes the port and resets its connections.
pub struct Forwarding {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    connections: Connections,
    /// Can be read once it is over.
    over: OwnedFd,
    /// The port in the guest that is open now.
    listening: Mutex<Option<Outlet>>,
}

impl Shared {
    fn new() -> io::Result<Arc<Self>> {
        let over = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(Self { connections: Connections::default(), over, listening: Mutex::default() }))
    }

    /// Waits until it is over, at most this long.
    fn pause(&self, limit: &Timespec) {
        let _ = poll(&mut [PollFd::from_borrowed_fd(self.over.as_fd(), PollFlags::IN)], Some(limit));
    }

    fn is_over(&self) -> bool {
        self.connections.is_closed()
    }
}

impl Forwarding {
    /// Listens on a port of 127.0.0.1, or on a free one if that is 0, and connects each connection to a port of the
    /// guest's `localhost`.
    pub fn into_guest(port: u16, guest: u16, sessions: Sessions) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let shared = Shared::new()?;
        let its = Arc::clone(&shared);
        let thread = spawn(move || accept(&listener, guest, &sessions, &its))?;
        Ok(Self { port, shared, thread: Some(thread) })
    }

    /// Listens on a port of the guest's 127.0.0.1, and connects each connection to a port of the host's. Returns why the
    /// guest cannot listen there.
    pub fn out_of_guest(host: u16, guest: u16, sessions: Sessions) -> Result<Self, String> {
        let text = |error: io::Error| error.to_string();
        let shared = Shared::new().map_err(text)?;
        let session = sessions().ok_or("the guest does not answer")?;
        let stream = listen(&session, guest)?;
        let its = Arc::clone(&shared);
        let thread = spawn(move || serve(stream, host, guest, &sessions, &its)).map_err(text)?;
        Ok(Self { port: guest, shared, thread: Some(thread) })
    }

    /// Returns the port that is listened on.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.shared.connections.close();
        let _ = rustix::io::write(&self.shared.over, &1_u64.to_ne_bytes());
        if let Some(listening) = self.shared.listening.lock().take() {
            listening.abandon();
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("forward".to_string()).spawn(work)
}

/// Accepts connections of the host until it is over.
fn accept(listener: &TcpListener, guest: u16, sessions: &Sessions, shared: &Arc<Shared>) {
    while !shared.is_over() {
        let mut files = [listener.as_fd(), shared.over.as_fd()].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let _ = poll(&mut files, None);
        match listener.accept() {
            Ok((local, _)) => {
                let (sessions, shared) = (Arc::clone(sessions), Arc::clone(shared));
                let _ = spawn(move || enter(local, guest, &sessions, &shared.connections));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => shared.pause(&BREATH),
        }
    }
}

/// Connects a connection of the host to a port in the guest.
fn enter(local: TcpStream, guest: u16, sessions: &Sessions, connections: &Connections) {
    let stream = local.set_nonblocking(false).ok().and_then(|()| sessions());
    let stream = stream.map(|session| session.request(Kind::Connect, &u32::from(guest).to_le_bytes()));
    match stream.and_then(|stream| begun(stream, || connections.is_closed()).ok()) {
        Some(stream) => connections.join(local, stream),
        None => reset(local),
    }
}

fn listen(session: &Session, guest: u16) -> Result<Stream, String> {
    begun(session.request(Kind::Listen, &u32::from(guest).to_le_bytes()), || false)
}

/// Waits until a request is under way.
fn begun(mut stream: Stream, is_over: impl Fn() -> bool) -> Result<Stream, String> {
    while !stream.has_begun() {
        match stream.next(PAUSE)? {
            Some(Answer::Failed(number)) => return Err(system_error(number)),
            None if is_over() => return Err("it was closed".to_string()),
            _ => {}
        }
    }
    Ok(stream)
}

/// Serves the connections that come in the guest until it is over; listens there again after a restart.
fn serve(stream: Stream, host: u16, guest: u16, sessions: &Sessions, shared: &Arc<Shared>) {
    const AGAIN_AFTER: Timespec = Timespec { tv_sec: 0, tv_nsec: AGAIN.subsec_nanos() as i64 };
    let mut listening = Some(stream);
    while !shared.is_over() {
        match listening.take() {
            Some(stream) => serve_once(stream, host, shared),
            None => {
                shared.pause(&AGAIN_AFTER);
                listening = sessions().and_then(|session| listen(&session, guest).ok());
            }
        }
    }
}

fn serve_once(mut stream: Stream, host: u16, shared: &Arc<Shared>) {
    *shared.listening.lock() = Some(stream.outlet().clone());
    while !shared.is_over() {
        match stream.next(PAUSE) {
            Ok(Some(Answer::Accepted(number))) => {
                let Some(came) = stream.accepted(number) else { continue };
                let shared = Arc::clone(shared);
                let _ = spawn(move || leave(came, host, &shared.connections));
            }
            Ok(Some(Answer::Failed(_))) | Err(_) => break,
            Ok(_) => {}
        }
    }
}

/// Connects a connection of the guest to a port of the host; the guest sees a reset if that is not possible.
fn leave(stream: Stream, host: u16, connections: &Connections) {
    const LIMIT: Duration = Duration::from_secs(10);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, host));
    if let Ok(local) = TcpStream::connect_timeout(&address, LIMIT) {
        connections.join(local, stream);
    }
}
