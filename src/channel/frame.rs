//! The frames of a guest's channel. Both ends speak in them: the host, and the program in the guest (`guest/`), which
//! is compiled with this file and has nothing but `core`.
//!
//! A frame is a kind (1 byte), a stream (4 bytes), a length (4 bytes), and as many bytes of content, at most [`MOST`].
//! Numbers are little endian. Zeros between frames mean nothing: they end what was cut off.
//!
//! A connection begins with [`Kind::Hello`], which ends all that an earlier one left running. Each request opens a
//! stream with a number of the host's choice, and ends in the nonce of its connection, so that no part of an old
//! connection is taken for one. The answers to it, its input and its output have the same number.

/// The version of the protocol: it is raised when an older program could not serve a newer host.
pub const VERSION: u32 = 2;
/// The bytes before the content.
pub const HEADER: usize = 9;
/// The most content of one frame.
pub const MOST: usize = 32 << 10;
/// The bytes that a connection is known by.
pub const NONCE: usize = 16;
/// The most bytes of a request, which may come in several frames.
pub const MOST_OF_REQUEST: usize = 4 << 20;
/// The bytes that may be sent on a stream, in each direction, before the other side has asked for [`Kind::More`].
pub const WINDOW: usize = 256 << 10;

/// The bit that the numbers of streams have which the guest begins, and no other numbers.
pub const GUESTS: u32 = 1 << 31;

/// What a frame is for. After each name: who sends it, and its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Host: a nonce. Begins a connection.
    Hello = b'H',
    /// Guest: the version (4 bytes), and the nonce of the hello that this answers.
    Greeting = b'G',
    /// Host: the beginning of a request that is longer than a frame; nothing else comes between its parts.
    Part = b'P',
    /// Host, a request: seconds (8 bytes), nanoseconds (4 bytes) since the epoch, and a seed. Answered by `Done` once
    /// the clock is set and the kernel's random numbers are reseeded.
    Wake = b'W',
    /// Host, a request without content: reset the connections that lead out of the guest. Answered by `Done` once no
    /// program waits for one any more.
    Reset = b'Z',
    /// Host, a request: flags, the size of a terminal, the number of variables and of words (4 bytes each), then the
    /// directory, the variables (`NAME=value`) and the words, each ended by a zero. With a size, the command runs on a
    /// terminal, and has one output. Answered by `Begun`, output, and `Exit`.
    Execute = b'X',
    /// Host, a request: a path, ended by a zero. Answered by `Begun`, output, and `Done`.
    Read = b'R',
    /// Host, a request: a mode (4 bytes, or [`NO_MODE`]) and a path, ended by a zero. Answered by `Begun`, and by `Done`
    /// once all input is in the file.
    Write = b'C',
    /// Host, a request: a port (4 bytes), and a path, ended by a zero. Answered by `Begun`, and by `Done` once something
    /// listens on that TCP port; with the port 0, once the path exists.
    Await = b'A',
    /// Host, a request: a TCP port (4 bytes) of the guest's `localhost`. Answered by `Begun` once there is a connection,
    /// and by `Done` once both directions have ended.
    Connect = b'c',
    /// Host, a request: a TCP port (4 bytes). Answered by `Begun` once the guest listens on that port of 127.0.0.1, and
    /// by `Accepted` for each connection.
    Listen = b'l',
    /// Guest: the number of a stream, a connection that was accepted. From then on it is like one that the host asked for.
    Accepted = b'a',
    /// Host: bytes for the standard input, for the file, or for the peer of the connection.
    Input = b'i',
    /// Either: no more input comes, or no more is wanted. A terminal is hung up. Of a connection: the sender sends no
    /// more bytes.
    End = b'e',
    /// Either: how many more bytes may be sent (4 bytes).
    More = b'm',
    /// Host: kill the command and all that it started; its `Exit` follows. A file or a port is let go of without an
    /// answer, and so is a connection, whose peer sees a reset.
    Kill = b'k',
    /// Host: the number of a signal (4 bytes) for the command's process group.
    Signal = b'g',
    /// Host: the new size of a terminal (4 bytes).
    Resize = b's',
    /// Guest: the request is under way. To a request to read: the size of the file (8 bytes).
    Begun = b'b',
    /// Guest: standard output, what is in the file, or what the peer of the connection sent.
    Output = b'o',
    /// Guest: standard error.
    Errors = b'r',
    /// Guest: the command's status as a shell has it (4 bytes). The last of its stream.
    Exit = b'x',
    /// Guest: it is done. The last of its stream.
    Done = b'd',
    /// Guest: the system's number of an error (4 bytes). The last of its stream; on stream 0, of the connection.
    Failed = b'f',
}

impl Kind {
    /// Says whether it begins a stream, and ends in the nonce of its connection.
    pub fn is_request(self) -> bool {
        matches!(
            self,
            Kind::Wake
                | Kind::Reset
                | Kind::Execute
                | Kind::Read
                | Kind::Write
                | Kind::Await
                | Kind::Connect
                | Kind::Listen
        )
    }
}

/// The number of a failure on stream 0: what came is no frame, or of no connection.
pub const NO_PROTOCOL: u32 = 71;
/// The numbers of failures on stream 0 that only a process between the two ends says: the guest has restarted, or stopped.
pub const LOST: u32 = 85;
pub const STOPPED: u32 = 108;

/// In a request to execute: input will come, instead of an empty one.
pub const HAS_INPUT: u32 = 1;
/// Puts the size of a terminal into a number.
pub fn size(rows: u16, columns: u16) -> u32 {
    (rows as u32) << 16 | columns as u32
}

/// Says whether a request to execute is for a command on a terminal.
pub fn has_terminal(mut request: &[u8]) -> bool {
    let mut numbers = || take_number(&mut request);
    numbers().and_then(|_| numbers()).is_some_and(|size| size != 0)
}

/// In a request to write: an existing file keeps its mode.
pub const NO_MODE: u32 = u32::MAX;

const KINDS: [Kind; 24] = [
    Kind::Hello,
    Kind::Greeting,
    Kind::Part,
    Kind::Wake,
    Kind::Reset,
    Kind::Execute,
    Kind::Read,
    Kind::Write,
    Kind::Await,
    Kind::Connect,
    Kind::Listen,
    Kind::Accepted,
    Kind::Input,
    Kind::End,
    Kind::More,
    Kind::Kill,
    Kind::Signal,
    Kind::Resize,
    Kind::Begun,
    Kind::Output,
    Kind::Errors,
    Kind::Exit,
    Kind::Done,
    Kind::Failed,
];

/// A frame, with its content where it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'b> {
    pub kind: Kind,
    pub stream: u32,
    pub content: &'b [u8],
}

/// What has arrived is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garbled;

/// Returns the first frame in `bytes`, if all of it has arrived, and how many bytes are done with.
pub fn parse(bytes: &[u8]) -> Result<(Option<Frame<'_>>, usize), Garbled> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let Some((header, rest)) = bytes.get(zeros..).unwrap_or_default().split_first_chunk::<HEADER>() else {
        let is_kind = |byte: &u8| kind(*byte).is_some();
        return if bytes.get(zeros).is_none_or(is_kind) { Ok((None, zeros)) } else { Err(Garbled) };
    };
    let [letter, s0, s1, s2, s3, length @ ..] = *header;
    let length = u32::from_le_bytes(length) as usize;
    let Some(kind) = kind(letter).filter(|_| length <= MOST) else { return Err(Garbled) };
    let stream = u32::from_le_bytes([s0, s1, s2, s3]);
    match rest.get(..length) {
        Some(content) => Ok((Some(Frame { kind, stream, content }), zeros + HEADER + length)),
        None => Ok((None, zeros)),
    }
}

fn kind(letter: u8) -> Option<Kind> {
    KINDS.into_iter().find(|kind| *kind as u8 == letter)
}

/// Returns the header of a frame.
pub fn header(kind: Kind, stream: u32, length: usize) -> [u8; HEADER] {
    let [s0, s1, s2, s3] = stream.to_le_bytes();
    let [l0, l1, l2, l3] = (length as u32).to_le_bytes();
    [kind as u8, s0, s1, s2, s3, l0, l1, l2, l3]
}

/// Takes a number off the front of some content.
pub fn take_number(content: &mut &[u8]) -> Option<u32> {
    let (number, rest) = content.split_first_chunk()?;
    *content = rest;
    Some(u32::from_le_bytes(*number))
}

/// Takes a text that is ended by a zero off the front of some content; the text has that zero.
pub fn take_text<'b>(content: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = content.iter().position(|byte| *byte == 0)? + 1;
    let (text, rest) = content.split_at(length);
    *content = rest;
    Some(text)
}
