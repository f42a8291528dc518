//! Several processes at one guest: each has a line of its own, on which it speaks as if to the guest.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};

use crate::channel::frame::{self, Frame, Kind, LOST, MOST_OF_REQUEST, NO_PROTOCOL, NONCE, STOPPED, VERSION};
use crate::channel::port::Port;
use crate::channel::session::Session;
use crate::channel::stream::{Outlet, Relay};

/// What is received before anything else is done.
const PIECE: usize = 64 << 10;

/// Serves a process until its line ends. What it leaves under way is killed; the end of the session ends the line.
pub fn attend(session: &Session, mut port: Box<dyn Port>) -> io::Result<()> {
    let client =
        Arc::new(Client { state: Mutex::default(), bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? });
    let mut line = Line { client: Arc::clone(&client), nonce: None, incoming: Vec::new(), parts: Vec::new() };
    let served = line.serve(session, &mut *port);
    client.forget();
    served
}

/// A process, as the guest's answers reach it.
struct Client {
    state: Mutex<State>,
    /// Rung when there is something to send.
    bell: OwnedFd,
}

#[derive(Default)]
struct State {
    outgoing: Vec<u8>,
    /// The streams that it has open, by its own numbers.
    streams: HashMap<u32, Open>,
    /// Those of the connection before are passed over.
    connection: u32,
}

struct Open {
    outlet: Outlet,
    /// Its terminal is hung up when it is left.
    has_terminal: bool,
}

impl Client {
    fn say(&self, kind: Kind, stream: u32, content: &[u8]) {
        self.state.lock().say(kind, stream, content);
    }

    /// Ends all that it has under way.
    fn forget(&self) {
        let mut state = self.state.lock();
        state.connection += 1;
        let streams = std::mem::take(&mut state.streams);
        drop(state);
        for open in streams.into_values() {
            if open.has_terminal { open.outlet.hang_up() } else { open.outlet.abandon() }
        }
    }
}

impl State {
    fn say(&mut self, kind: Kind, stream: u32, content: &[u8]) {
        self.outgoing.extend(frame::header(kind, stream, content.len()));
        self.outgoing.extend(content);
    }
}

/// The way of the answers to one connection of a client.
struct Answers {
    client: Arc<Client>,
    connection: u32,
}

impl Relay for Answers {
    fn pass(&self, stream: u32, kind: Kind, content: &[u8]) {
        let mut state = self.client.state.lock();
        if state.connection != self.connection {
            return;
        }
        if matches!(kind, Kind::Exit | Kind::Done | Kind::Failed) {
            state.streams.remove(&stream);
        }
        state.say(kind, stream, content);
        drop(state);
        self.ring();
    }

    fn accepted(&self, outlet: Outlet) {
        let mut state = self.client.state.lock();
        if state.connection == self.connection {
            state.streams.insert(outlet.number(), Open { outlet, has_terminal: false });
        } else {
            drop(state);
            outlet.abandon();
        }
    }

    fn ring(&self) {
        let _ = rustix::io::write(&self.client.bell, &1_u64.to_ne_bytes());
    }
}

/// What comes from a process.
struct Line {
    client: Arc<Client>,
    /// Of its connection, once that has begun.
    nonce: Option<[u8; NONCE]>,
    /// What has arrived of the next frames.
    incoming: Vec<u8>,
    /// The beginning of a long request.
    parts: Vec<u8>,
}

impl Line {
    fn serve(&mut self, session: &Session, port: &mut dyn Port) -> io::Result<()> {
        let (mut piece, mut to_send, mut sent) = (vec![0; PIECE], Vec::new(), 0);
        loop {
            let over = session.over();
            if over.is_some() {
                let why = if session.has_restarted() { LOST } else { STOPPED };
                self.client.say(Kind::Failed, 0, &why.to_le_bytes());
            }
            if sent == to_send.len() {
                (to_send, sent) = (std::mem::take(&mut self.client.state.lock().outgoing), 0);
            }
            while sent < to_send.len() {
                match port.send(&to_send[sent..]) {
                    Ok(length) => sent += length,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            match port.receive(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(length) => self.receive(session, &piece[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            let is_sent = sent == to_send.len() && self.client.state.lock().outgoing.is_empty();
            if over.is_some() && is_sent {
                return Ok(());
            }
            port.wait(self.client.bell.as_fd(), !is_sent);
            let _ = rustix::io::read(&self.client.bell, &mut [0; 8]);
        }
    }

    fn receive(&mut self, session: &Session, bytes: &[u8]) {
        let mut incoming = std::mem::take(&mut self.incoming);
        incoming.extend_from_slice(bytes);
        let mut done = 0;
        loop {
            match frame::parse(&incoming[done..]) {
                Ok((Some(frame), length)) => {
                    self.take(session, frame);
                    done += length;
                }
                Ok((None, length)) => {
                    incoming.drain(..done + length);
                    self.incoming = incoming;
                    return;
                }
                Err(frame::Garbled) => return self.give_up(),
            }
        }
    }

    fn take(&mut self, session: &Session, frame: Frame<'_>) {
        let Frame { kind, stream, content } = frame;
        match kind {
            Kind::Hello => {
                self.forget();
                self.nonce = content.try_into().ok();
                self.client.say(Kind::Greeting, 0, &[&VERSION.to_le_bytes()[..], content].concat());
            }
            _ if self.nonce.is_none() => {}
            Kind::Part if self.parts.len() <= MOST_OF_REQUEST => self.parts.extend_from_slice(content),
            _ if kind.is_request() => {
                let mut request = std::mem::take(&mut self.parts);
                request.extend_from_slice(content);
                match self.nonce.and_then(|nonce| request.strip_suffix(&nonce)) {
                    Some(request) => self.begin(session, kind, stream, request),
                    None => self.give_up(),
                }
            }
            _ => {
                if let Some(open) = self.client.state.lock().streams.get(&stream) {
                    open.outlet.say(kind, content);
                }
            }
        }
    }

    fn begin(&self, session: &Session, kind: Kind, stream: u32, request: &[u8]) {
        let mut state = self.client.state.lock();
        let answers = Answers { client: Arc::clone(&self.client), connection: state.connection };
        let outlet = session.relay(kind, request, stream, Arc::new(answers));
        let has_terminal = kind == Kind::Execute && frame::has_terminal(request);
        state.streams.insert(stream, Open { outlet, has_terminal });
    }

    fn forget(&mut self) {
        self.client.forget();
        self.nonce = None;
        self.parts.clear();
    }

    /// Forgets a connection that makes no sense, and says so.
    fn give_up(&mut self) {
        self.forget();
        self.client.say(Kind::Failed, 0, &NO_PROTOCOL.to_le_bytes());
    }
}
