//! One connection to the program in a guest.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};

use crate::channel::frame::{self, Frame, Kind, MOST, NONCE, take_number};
use crate::channel::hello::{HUNG_UP, Refused, greet};
use crate::channel::port::Port;

/// After this long without a word, QEMU is asked whether the program is still there.
const SILENCE: Duration = Duration::from_millis(500);
/// What is received before anything else is done.
const PIECE: usize = 64 << 10;

pub const RESTARTED: &str = "the guest restarted meanwhile, or our program in it was killed";
const MISUNDERSTOOD: &str = "the program in the guest cannot understand what it was sent";
const GARBLED: &str = "cannot understand what the guest's end of the line sends";

/// Something that the guest said about a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// With the size of a file that is read; 0 if it has none.
    Begun(u64),
    Output(Vec<u8>),
    Errors(Vec<u8>),
    /// No more input is wanted.
    End,
    /// This much more input may be sent.
    More(usize),
    Exit(i32),
    Done,
    /// The system's number of an error.
    Failed(i32),
}

/// A connection; several threads may use it at once. Dropping it hangs up, and the guest ends what is under way.
pub struct Session {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// Rung when there is something to send.
    bell: OwnedFd,
    nonce: [u8; NONCE],
}

#[derive(Default)]
struct State {
    outgoing: Vec<u8>,
    streams: HashMap<u32, Sender<Answer>>,
    last_stream: u32,
    /// Why the connection has ended.
    over: Option<String>,
}

impl Session {
    /// Begins a connection.
    pub fn open(mut port: Box<dyn Port>) -> Result<Self, Refused> {
        let silent = |error: io::Error| Refused::Silent(error.to_string());
        let nonce = uuid::Uuid::new_v4().into_bytes();
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|error| silent(error.into()))?;
        let incoming = greet(&mut *port, &bell, &nonce)?;
        let shared = Arc::new(Shared { state: Mutex::default(), bell, nonce });
        let line =
            Line { port, shared: Arc::clone(&shared), to_send: Vec::new(), sent: 0, piece: vec![0; PIECE], incoming };
        let thread = std::thread::Builder::new().name("channel".to_string()).spawn(|| line.serve()).map_err(silent)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Returns why the connection has ended, if it has.
    pub fn over(&self) -> Option<String> {
        self.shared.state.lock().over.clone()
    }

    /// Sends a request, under a stream of its own.
    pub fn request(&self, kind: Kind, content: &[u8]) -> Stream {
        let (sender, answers) = mpsc::channel();
        let mut state = self.shared.state.lock();
        state.last_stream = state.last_stream.wrapping_add(1).max(1);
        let number = state.last_stream;
        if state.over.is_none() {
            state.streams.insert(number, sender);
            let content = [content, &self.shared.nonce].concat();
            let mut parts = content.chunks(MOST).peekable();
            while let Some(part) = parts.next() {
                let kind = if parts.peek().is_some() { Kind::Part } else { kind };
                state.say(kind, number, part);
            }
        }
        drop(state);
        self.shared.ring();
        Stream {
            sender: Outlet { shared: Arc::clone(&self.shared), number },
            answers,
            has_begun: false,
            is_over: false,
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.state.lock().end("it was closed");
        self.shared.ring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn ring(&self) {
        let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }
}

impl State {
    fn say(&mut self, kind: Kind, stream: u32, content: &[u8]) {
        self.outgoing.extend(frame::header(kind, stream, content.len()));
        self.outgoing.extend(content);
    }

    fn end(&mut self, why: &str) {
        self.over.get_or_insert_with(|| why.to_string());
        self.streams.clear();
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
    fn say(&self, kind: Kind, content: &[u8]) {
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
                    Answer::End | Answer::More(_) => {}
                }
                Ok(Some(answer))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                self.is_over = true;
                Err(self.sender.shared.state.lock().over.clone().unwrap_or_else(|| HUNG_UP.to_string()))
            }
        }
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
    }
}

/// What moves the bytes of a session, in a thread of its own.
struct Line {
    port: Box<dyn Port>,
    shared: Arc<Shared>,
    to_send: Vec<u8>,
    sent: usize,
    /// What has just arrived.
    piece: Vec<u8>,
    /// What has arrived of the next frames.
    incoming: Vec<u8>,
}

impl Line {
    fn serve(mut self) {
        let (mut heard, mut asked) = (Instant::now(), Instant::now());
        loop {
            let (is_waiting, is_over) = self.take_outgoing();
            if is_over {
                return;
            }
            match self.exchange() {
                Ok(false) => {}
                Ok(true) => heard = Instant::now(),
                Err(error) => return self.shared.state.lock().end(&why(&error)),
            }
            if !is_waiting {
                heard = Instant::now();
            } else if heard.elapsed() > SILENCE && asked.elapsed() > SILENCE {
                asked = Instant::now();
                if !self.port.is_waited_at() {
                    return self.shared.state.lock().end(RESTARTED);
                }
            }
            let is_sent = self.to_send.is_empty() && self.shared.state.lock().outgoing.is_empty();
            self.port.wait(self.shared.bell.as_fd(), !is_sent);
            let _ = rustix::io::read(&self.shared.bell, &mut [0; 8]);
        }
    }

    /// Takes over what is to be sent. Says whether answers are waited for, and whether it is over.
    fn take_outgoing(&mut self) -> (bool, bool) {
        let mut state = self.shared.state.lock();
        if self.to_send.is_empty() {
            std::mem::swap(&mut self.to_send, &mut state.outgoing);
        }
        (!state.streams.is_empty(), state.over.is_some())
    }

    /// Sends and receives. Says whether anything was heard.
    fn exchange(&mut self) -> io::Result<bool> {
        let sent = self.send();
        let mut has_heard = self.receive()?;
        if let Err(error) = sent {
            // What came before the line was cut counts.
            while has_heard {
                has_heard = self.receive()?;
            }
            return Err(error);
        }
        Ok(has_heard)
    }

    fn send(&mut self) -> io::Result<()> {
        while self.sent < self.to_send.len() {
            match self.port.send(&self.to_send[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.to_send.clear();
        self.sent = 0;
        Ok(())
    }

    /// Takes what has arrived. Says whether that was anything.
    fn receive(&mut self) -> io::Result<bool> {
        match self.port.receive(&mut self.piece) {
            Ok(0) => return Err(io::Error::other(HUNG_UP)),
            Ok(length) => self.incoming.extend(&self.piece[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        let garbled = || io::Error::other(GARBLED);
        let mut done = 0;
        while let (Some(frame), length) = frame::parse(&self.incoming[done..]).map_err(|_| garbled())? {
            let answer = answer(frame).ok_or_else(garbled)?;
            if frame.stream == 0 && frame.kind == Kind::Failed {
                return Err(io::Error::other(MISUNDERSTOOD));
            }
            let is_last = matches!(answer, Some(Answer::Exit(_) | Answer::Done | Answer::Failed(_)));
            let mut state = self.shared.state.lock();
            // The answers to a request that was given up have no reader.
            if let Some((answer, stream)) = answer.zip(state.streams.get(&frame.stream)) {
                let _ = stream.send(answer);
            }
            if is_last {
                state.streams.remove(&frame.stream);
            }
            done += length;
        }
        self.incoming.drain(..done);
        Ok(true)
    }
}

/// Says what ended a line.
fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => HUNG_UP.to_string(),
        _ => error.to_string(),
    }
}

/// Returns what a frame says; `Some(None)` for a second greeting, and `None` if the guest would not send it.
pub fn answer(frame: Frame<'_>) -> Option<Option<Answer>> {
    let number = || take_number(&mut &*frame.content);
    Some(Some(match frame.kind {
        Kind::Greeting => return Some(None),
        Kind::Begun => Answer::Begun(frame.content.try_into().map_or(0, u64::from_le_bytes)),
        Kind::Output => Answer::Output(frame.content.to_vec()),
        Kind::Errors => Answer::Errors(frame.content.to_vec()),
        Kind::End => Answer::End,
        Kind::More => Answer::More(number()? as usize),
        Kind::Exit => Answer::Exit(number()? as i32),
        Kind::Done => Answer::Done,
        Kind::Failed => Answer::Failed(number()? as i32),
        _ => return None,
    }))
}
