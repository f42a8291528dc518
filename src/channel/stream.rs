//! Requests under way, and what they share with the line that carries them.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};

use crate::channel::frame::{self, Frame, GUESTS, Kind, MOST, NONCE};
use crate::channel::hello::HUNG_UP;

/// Something that the guest said about a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// With the size of a file that is read; 0 if it has none.
    Begun(u64),
    Output(Vec<u8>),
    Errors(Vec<u8>),
    /// No more input is wanted; of a connection: no more output comes.
    End,
    /// This much more input may be sent.
    More(usize),
    /// A connection came, and is the stream of this number: see [`Stream::accepted`].
    Accepted(u32),
    Exit(i32),
    Done,
    /// The system's number of an error.
    Failed(i32),
}

/// What the streams of a connection share with its line.
pub struct Shared {
    state: Mutex<State>,
    /// Rung when there is something to send.
    bell: OwnedFd,
    pub nonce: [u8; NONCE],
}

#[derive(Default)]
struct State {
    outgoing: Vec<u8>,
    streams: HashMap<u32, Sink>,
    /// Those that the guest began and no thread has taken over.
    accepted: HashMap<u32, Receiver<Answer>>,
    last_stream: u32,
    /// Why the connection has ended.
    over: Option<String>,
}

/// Where the answers to a request go.
#[derive(Clone)]
enum Sink {
    Queue(Sender<Answer>),
    /// To another process, which has its own number for the stream.
    Relay(Arc<dyn Relay>, u32),
}

/// The way of answers to another process.
pub trait Relay: Send + Sync {
    /// Passes an answer on, by the number that the process has for the stream.
    fn pass(&self, stream: u32, kind: Kind, content: &[u8]);

    /// Takes over a connection that came; both sides have the same number for it.
    fn accepted(&self, outlet: Outlet);

    /// Wakes what waits for answers.
    fn ring(&self);
}

impl State {
    fn say(&mut self, kind: Kind, stream: u32, content: &[u8]) {
        self.outgoing.extend(frame::header(kind, stream, content.len()));
        self.outgoing.extend(content);
    }
}

impl Shared {
    pub fn new(nonce: [u8; NONCE]) -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { state: Mutex::default(), bell, nonce })
    }

    /// Sends a request, under a stream of its own.
    pub fn request(self: &Arc<Self>, kind: Kind, content: &[u8]) -> Stream {
        let (sender, answers) = mpsc::channel();
        let sender = self.send(kind, content, Sink::Queue(sender));
        Stream { sender, answers, has_begun: false, is_over: false }
    }

    /// Sends the request of another process, which has this number for its stream.
    pub fn relay(self: &Arc<Self>, kind: Kind, content: &[u8], theirs: u32, relay: Arc<dyn Relay>) -> Outlet {
        self.send(kind, content, Sink::Relay(relay, theirs))
    }

    fn send(self: &Arc<Self>, kind: Kind, content: &[u8], sink: Sink) -> Outlet {
        let mut state = self.state.lock();
        state.last_stream = (state.last_stream.wrapping_add(1) & !GUESTS).max(1);
        let number = state.last_stream;
        if state.over.is_none() {
            state.streams.insert(number, sink);
            let content = [content, &self.nonce].concat();
            let mut parts = content.chunks(MOST).peekable();
            while let Some(part) = parts.next() {
                let kind = if parts.peek().is_some() { Kind::Part } else { kind };
                state.say(kind, number, part);
            }
        }
        drop(state);
        self.ring();
        Outlet { shared: Arc::clone(self), number }
    }

    /// Ends all streams.
    pub fn end(&self, why: &str) {
        let mut state = self.state.lock();
        state.over.get_or_insert_with(|| why.to_string());
        let streams = std::mem::take(&mut state.streams);
        state.accepted.clear();
        drop(state);
        for sink in streams.into_values() {
            if let Sink::Relay(relay, _) = sink {
                relay.ring();
            }
        }
    }

    /// Returns why the connection has ended, if it has.
    pub fn over(&self) -> Option<String> {
        self.state.lock().over.clone()
    }

    pub fn ring(&self) {
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    /// Returns what can be read when it was rung.
    pub fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    /// Lets it be rung again.
    pub fn quieten(&self) {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
    }

    /// Moves what is to be sent to `to_send`, if that is empty. Says whether answers are waited for.
    pub fn take_outgoing(&self, to_send: &mut Vec<u8>) -> bool {
        let mut state = self.state.lock();
        if to_send.is_empty() {
            std::mem::swap(to_send, &mut state.outgoing);
        }
        !state.streams.is_empty()
    }

    pub fn has_outgoing(&self) -> bool {
        !self.state.lock().outgoing.is_empty()
    }

    /// Passes an answer on. The answers to a request that was given up have no reader.
    pub fn deliver(self: &Arc<Self>, frame: Frame<'_>, answer: Answer) {
        let (number, came) = (frame.stream, if let Answer::Accepted(number) = answer { Some(number) } else { None });
        let mut state = self.state.lock();
        let sink = state.streams.get(&number).cloned();
        if matches!(answer, Answer::Exit(_) | Answer::Done | Answer::Failed(_)) {
            state.streams.remove(&number);
        }
        match sink {
            Some(Sink::Queue(stream)) => {
                if let Some(number) = came {
                    let (sender, answers) = mpsc::channel();
                    state.streams.insert(number, Sink::Queue(sender));
                    state.accepted.insert(number, answers);
                }
                let _ = stream.send(answer);
            }
            Some(Sink::Relay(relay, theirs)) => {
                if let Some(number) = came {
                    state.streams.insert(number, Sink::Relay(Arc::clone(&relay), number));
                }
                drop(state);
                if let Some(number) = came {
                    relay.accepted(Outlet { shared: Arc::clone(self), number });
                }
                relay.pass(theirs, frame.kind, frame.content);
            }
            None => {
                if let Some(number) = came {
                    state.say(Kind::Kill, number, &[]);
                    drop(state);
                    self.ring();
                }
            }
        }
    }
}

/// A request under way.
pub struct Stream {
    sender: Outlet,
    answers: Receiver<Answer>,
    has_begun: bool,
    is_over: bool,
}

/// The way to the guest for a request under way.
#[derive(Clone)]
pub struct Outlet {
    shared: Arc<Shared>,
    number: u32,
}

impl Outlet {
    pub fn number(&self) -> u32 {
        self.number
    }

    pub fn say(&self, kind: Kind, content: &[u8]) {
        self.shared.state.lock().say(kind, self.number, content);
        self.shared.ring();
    }

    /// Sends some input, at most what one frame holds.
    pub fn feed(&self, bytes: &[u8]) {
        self.say(Kind::Input, bytes);
    }

    /// Ends the input, or hangs up a terminal.
    pub fn end(&self) {
        self.say(Kind::End, &[]);
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        self.say(Kind::Resize, &frame::size(rows, columns).to_le_bytes());
    }

    /// Sends a signal to a command's process group.
    pub fn signal(&self, signal: i32) {
        self.say(Kind::Signal, &signal.to_le_bytes());
    }

    /// Hangs up a terminal whose answers no thread waits for.
    pub fn hang_up(&self) {
        self.shared.state.lock().streams.remove(&self.number);
        self.end();
    }

    /// Ends the request for the guest, and for the thread that waits for its answers.
    pub fn abandon(&self) {
        self.shared.state.lock().streams.remove(&self.number);
        self.kill();
    }

    /// Ends the request; the exit of a command is still told.
    pub fn kill(&self) {
        self.say(Kind::Kill, &[]);
    }
}

impl Stream {
    /// Returns the way to the guest, which any thread may use.
    pub fn outlet(&self) -> &Outlet {
        &self.sender
    }

    /// Says whether the guest has told that it is under way.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Waits for the next answer; `None` if there is none within `limit`. Fails if the connection has ended.
    pub fn next(&mut self, limit: Duration) -> Result<Option<Answer>, String> {
        match self.answers.recv_timeout(limit) {
            Ok(answer) => {
                match &answer {
                    Answer::Output(bytes) | Answer::Errors(bytes) => {
                        self.sender.say(Kind::More, &(bytes.len() as u32).to_le_bytes());
                    }
                    Answer::Exit(_) | Answer::Done | Answer::Failed(_) => self.is_over = true,
                    Answer::Begun(_) => self.has_begun = true,
                    Answer::End | Answer::More(_) | Answer::Accepted(_) => {}
                }
                Ok(Some(answer))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                self.is_over = true;
                Err(self.sender.shared.over().unwrap_or_else(|| HUNG_UP.to_string()))
            }
        }
    }

    /// Takes over a connection that came; `None` if it is lost.
    pub fn accepted(&self, number: u32) -> Option<Stream> {
        let answers = self.sender.shared.state.lock().accepted.remove(&number)?;
        let sender = Outlet { shared: Arc::clone(&self.sender.shared), number };
        Some(Stream { sender, answers, has_begun: true, is_over: false })
    }

    /// Leaves it to end by itself.
    pub fn leave(&mut self) {
        self.is_over = true;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.sender.shared.state.lock().streams.remove(&self.sender.number);
        if !self.is_over {
            self.sender.kill();
        }
        let came = self.answers.try_iter().filter_map(|answer| match answer {
            Answer::Accepted(number) => self.accepted(number),
            _ => None,
        });
        came.for_each(drop);
    }
}
