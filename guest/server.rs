//! Serving the host.

use alloc::vec;
use alloc::vec::Vec;

use crate::command;
use crate::condition::Condition;
use crate::connection::Connection;
use crate::frame::{self, Frame, GUESTS, Kind, MOST_OF_REQUEST, NO_PROTOCOL, NONCE, VERSION, take_number};
use crate::linux::{
    self, CREATE, E2BIG, EAGAIN, EEXIST, EINTR, EXCLUSIVE, Errno, FAILED, FOREVER, File, HUNG_UP, NONBLOCK, Poll,
    READ_ONLY, READABLE, TRUNCATE, Text, WRITABLE, WRITE_ONLY,
};
use crate::outgoing::Outgoing;
use crate::resets;
use crate::socket;
use crate::stream::{Stream, finish, is_ready};

/// What is read from the port at once.
const PIECE: usize = 64 << 10;
/// The mode of a new file.
const USUAL_MODE: usize = 0o644;
/// In milliseconds: how often a host is looked for while something else is waited for too.
const PAUSE: usize = 100;
/// In milliseconds: between two looks at a terminal whose command has ended.
const LINGER: usize = 10;
/// With so many streams, no connection is accepted: each may need two open files.
const MOST_STREAMS: usize = 256;

/// The guest's end of a channel.
pub struct Server {
    port: File,
    /// Whether another connection may follow when one has ended.
    is_patient: bool,
    environment: Vec<Text<'static>>,
    /// What has just arrived.
    piece: Vec<u8>,
    /// What has arrived of the next frames.
    incoming: Vec<u8>,
    outgoing: Outgoing,
    /// Of the connection, once it has begun.
    nonce: Option<[u8; NONCE]>,
    /// The beginning of a long request.
    parts: Vec<u8>,
    streams: Vec<Stream>,
    /// The last number that was given to a stream here.
    last_number: u32,
    /// The ends of children are told here.
    children: File,
    /// The outputs of what ended commands left running. They are read, and what they yield is lost: without a reader,
    /// printing would end those programs.
    left_open: Vec<File>,
}

impl Server {
    pub fn new(port: File, environment: Vec<Text<'static>>, is_patient: bool) -> Self {
        linux::reset_signals();
        let Ok(children) = linux::watch_children() else { linux::exit(1) };
        port.set_nonblocking(true);
        Self {
            port,
            is_patient,
            environment,
            piece: vec![0; PIECE],
            incoming: Vec::new(),
            outgoing: Outgoing::new(),
            nonce: None,
            parts: Vec::new(),
            streams: Vec::new(),
            last_number: 0,
            children,
            left_open: Vec::new(),
        }
    }

    pub fn serve(mut self) -> ! {
        let mut polls = Vec::new();
        loop {
            polls.clear();
            let wanted = READABLE | if self.outgoing.is_empty() { 0 } else { WRITABLE };
            polls.push(Poll { file: self.port.number(), wanted, came: 0 });
            self.wait_for_the_rest(&mut polls);
            self.streams.iter().for_each(|stream| stream.wait(self.outgoing.has_room(), &mut polls));
            self.wait_for_connections(&mut polls);
            let lingers = self.streams.iter().any(Stream::lingers);
            linux::poll(&mut polls, if lingers { LINGER } else { FOREVER });
            let came = polls.first().map_or(0, |port| port.came);
            if came & (HUNG_UP | FAILED) != 0 || came & READABLE != 0 && !self.receive() {
                self.wait_for_host();
                continue;
            }
            self.look_at_the_rest(&polls);
            for index in (0..self.streams.len()).rev() {
                if self.streams[index].advance(&polls, &mut self.outgoing) {
                    self.left_open.extend(self.streams.swap_remove(index).into_outputs());
                }
            }
            self.accept(&polls);
            self.outgoing.send(&self.port);
        }
    }

    fn wait_for_connections(&self, polls: &mut Vec<Poll>) {
        if self.outgoing.has_room() && self.streams.len() < MOST_STREAMS {
            let listeners = self.streams.iter().filter_map(Stream::listener);
            polls.extend(listeners.map(|file| Poll { file: file.number(), wanted: READABLE, came: 0 }));
        }
    }

    /// Gives a stream to each connection that came, and tells the host.
    fn accept(&mut self, polls: &[Poll]) {
        let mut accepted = Vec::new();
        self.streams.retain(|stream| {
            let Some(listener) = stream.listener().filter(|listener| is_ready(listener, polls)) else { return true };
            match socket::accept(listener) {
                Ok(file) => accepted.push((stream.number, file)),
                Err(EAGAIN | EINTR | ECONNABORTED) => {}
                Err(error) => return !finish(stream.number, Err(error), &mut self.outgoing),
            }
            true
        });
        for (listener, file) in accepted {
            let number = self.last_number.wrapping_add(1) | GUESTS;
            if let Ok(stream) = Stream::of_connection(number, Connection::accepted(file)) {
                self.last_number = number;
                self.outgoing.say_number(Kind::Accepted, listener, number);
                self.streams.push(stream);
            }
        }
    }

    /// Adds what is waited for whether there is a host or not.
    fn wait_for_the_rest(&self, polls: &mut Vec<Poll>) {
        let files = [&self.children].into_iter().chain(&self.left_open);
        polls.extend(files.map(|file| Poll { file: file.number(), wanted: READABLE, came: 0 }));
    }

    fn look_at_the_rest(&mut self, polls: &[Poll]) {
        let mut unread = [0; 4096];
        let is_open = |result: Result<usize, Errno>| matches!(result, Ok(1..) | Err(EAGAIN));
        self.left_open.retain(|file| !is_ready(file, polls) || is_open(file.read(&mut unread)));
        if is_ready(&self.children, polls) {
            let _ = self.children.read(&mut unread);
            self.take_ends();
        }
    }

    /// Ends what the connection has left, and waits for the next one.
    fn wait_for_host(&mut self) {
        self.forget();
        if !self.is_patient {
            linux::exit(0);
        }
        let mut polls = Vec::new();
        while linux::has_children() || !self.left_open.is_empty() {
            polls.clear();
            self.wait_for_the_rest(&mut polls);
            linux::poll(&mut polls, PAUSE);
            self.look_at_the_rest(&polls);
            let mut port = [Poll { file: self.port.number(), wanted: READABLE, came: 0 }];
            linux::poll(&mut port, 0);
            if port[0].came & (HUNG_UP | FAILED) == 0 {
                return;
            }
        }
        // Writing waits until the other end is open, unless the port is gone.
        self.port.set_nonblocking(false);
        if self.port.write(&[0]).is_err() {
            linux::exit(0);
        }
        self.port.set_nonblocking(true);
    }

    /// Forgets the connection; what it has left running is killed.
    fn forget(&mut self) {
        for stream in self.streams.drain(..) {
            if !stream.has_terminal() {
                end(&stream, &self.environment);
            }
            stream.break_off();
        }
        self.incoming.clear();
        self.parts.clear();
        self.outgoing.clear();
        self.nonce = None;
    }

    /// Forgets a connection that makes no sense, and says so. The host has to say hello once more.
    fn give_up(&mut self) {
        self.forget();
        self.outgoing.say_number(Kind::Failed, 0, NO_PROTOCOL);
    }

    /// Takes in the ends of children.
    fn take_ends(&mut self) {
        while let Some((child, status)) = linux::ended_child() {
            let mut streams = self.streams.iter_mut();
            if let Some(stream) = streams.find(|stream| stream.child() == Some(child)) {
                stream.child_ended(status);
            }
        }
    }

    /// Takes what has arrived. Says whether the line has not ended.
    fn receive(&mut self) -> bool {
        // A port yields no more than a page at once.
        let (mut length, mut has_ended) = (0, false);
        while length < PIECE && !has_ended {
            match self.port.read(&mut self.piece[length..]) {
                Ok(got) => {
                    length += got;
                    has_ended = got == 0;
                }
                Err(EINTR) => {}
                Err(_) => break,
            }
        }
        if has_ended && length == 0 {
            return false;
        }
        let mut bytes = core::mem::take(&mut self.incoming);
        bytes.extend_from_slice(&self.piece[..length]);
        let mut done = 0;
        loop {
            match frame::parse(&bytes[done..]) {
                Ok((Some(frame), length)) => {
                    self.take(frame);
                    done += length;
                }
                Ok((None, length)) => {
                    bytes.drain(..done + length);
                    self.incoming = bytes;
                    return true;
                }
                Err(frame::Garbled) => {
                    self.give_up();
                    return true;
                }
            }
        }
    }

    fn take(&mut self, frame: Frame<'_>) {
        let number = frame.stream;
        match frame.kind {
            Kind::Hello => self.greet(frame.content),
            _ if self.nonce.is_none() => {}
            Kind::Part if self.parts.len() <= MOST_OF_REQUEST => self.parts.extend_from_slice(frame.content),
            kind if kind.is_request() => {
                let mut request = core::mem::take(&mut self.parts);
                request.extend_from_slice(frame.content);
                self.answer(frame.kind, number, &request);
            }
            kind => {
                let Some(place) = self.streams.iter().position(|stream| stream.number == number) else { return };
                let stream = &mut self.streams[place];
                match kind {
                    Kind::Input => stream.add_input(frame.content),
                    Kind::End => stream.end_input(),
                    Kind::Resize => stream.resize(take_number(&mut &*frame.content).unwrap_or(0)),
                    Kind::More => stream.add_credit(take_number(&mut &*frame.content).unwrap_or(0) as usize),
                    Kind::Kill => {
                        // The host may have no use for the rest of its output.
                        stream.add_credit(usize::MAX);
                        end(stream, &self.environment);
                        if !stream.is_command() {
                            self.streams.swap_remove(place).break_off();
                        }
                    }
                    Kind::Signal => {
                        if let Some((child, signal)) = stream.child().zip(take_number(&mut &*frame.content)) {
                            command::signal(child, signal as usize);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn greet(&mut self, nonce: &[u8]) {
        self.forget();
        self.nonce = nonce.try_into().ok();
        let greeting = [&VERSION.to_le_bytes()[..], nonce].concat();
        self.outgoing.say(Kind::Greeting, 0, &greeting);
    }

    fn answer(&mut self, kind: Kind, number: u32, request: &[u8]) {
        let Some(request) = self.nonce.and_then(|nonce| request.strip_suffix(&nonce)) else { return self.give_up() };
        if request.len() > MOST_OF_REQUEST {
            finish(number, Err(E2BIG), &mut self.outgoing);
            return;
        }
        let begun = match kind {
            Kind::Reset => {
                // The tests' connections are those of the host.
                let result = if self.is_patient { resets::reset_connections() } else { Err(NOT_PERMITTED) };
                finish(number, result, &mut self.outgoing);
                return;
            }
            Kind::Wake => {
                let result = wake(request);
                finish(number, result, &mut self.outgoing);
                return;
            }
            Kind::Execute => self.execute(number, request),
            Kind::Read => {
                let path = Text::new(request).ok_or(INVALID);
                path.and_then(|path| File::open(path, READ_ONLY | NONBLOCK, 0))
                    .map(|file| Stream::reading(number, file))
            }
            Kind::Await => {
                let condition = Condition::parse(request).ok_or(INVALID);
                condition.and_then(|condition| condition.watch()).map(|child| Stream::watching(number, child))
            }
            Kind::Connect => port_of(request)
                .and_then(Connection::begin)
                .and_then(|connection| Stream::of_connection(number, connection)),
            Kind::Listen => port_of(request).and_then(socket::listen).map(|file| Stream::listening(number, file)),
            _ => {
                let request = command::parse_write(request).ok_or(INVALID);
                request.and_then(|(mode, path)| open_to_write(path, mode)).map(|file| Stream::writing(number, file))
            }
        };
        match begun {
            Ok(stream) => {
                if stream.has_begun() {
                    let size = stream.size().map(u64::to_le_bytes);
                    self.outgoing.say(Kind::Begun, number, size.as_ref().map_or(&[], |size| size));
                }
                self.streams.push(stream);
            }
            Err(error) => {
                finish(number, Err(error), &mut self.outgoing);
            }
        }
    }

    fn execute(&self, number: u32, request: &[u8]) -> Result<Stream, Errno> {
        let request = command::Request::parse(request).ok_or(INVALID)?;
        command::start(&request, &self.environment).map(|started| Stream::of_command(number, started))
    }
}

/// The peer was gone before its connection was accepted.
const ECONNABORTED: Errno = Errno(103);
const NOT_PERMITTED: Errno = Errno(1);
/// The system's error for a request that makes no sense.
const INVALID: Errno = Errno(22);

/// Kills what runs for a stream, if anything does.
fn end(stream: &Stream, environment: &[Text<'static>]) {
    match stream.child() {
        Some(child) if stream.is_command() => command::kill(child, environment),
        Some(child) => linux::send_signal(child, linux::SIGKILL, false),
        None => {}
    }
}

fn wake(mut request: &[u8]) -> Result<(), Errno> {
    let mut number = || take_number(&mut request).ok_or(INVALID);
    let seconds = u64::from(number()?) | u64::from(number()?) << 32;
    let nanoseconds = number()?;
    linux::reseed(request);
    linux::set_clock(seconds, nanoseconds)
}

/// Reads a request that is a port.
fn port_of(mut request: &[u8]) -> Result<u16, Errno> {
    let port = take_number(&mut request).filter(|_| request.is_empty()).and_then(|port| u16::try_from(port).ok());
    port.filter(|port| *port > 0).ok_or(INVALID)
}

/// Opens a file to be replaced. Its mode is right before there is anything in it, so that others never read a secret.
pub fn open_to_write(path: Text<'_>, mode: Option<usize>) -> Result<File, Errno> {
    let (file, mode) = match File::open(path, WRITE_ONLY | CREATE | EXCLUSIVE | NONBLOCK, 0o600) {
        Err(EEXIST) => (File::open(path, WRITE_ONLY | CREATE | TRUNCATE | NONBLOCK, 0o600)?, mode),
        file => (file?, Some(mode.unwrap_or(USUAL_MODE))),
    };
    if let Some(mode) = mode {
        file.set_mode(mode)?;
    }
    Ok(file)
}
