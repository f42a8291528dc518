//! The line itself: what is said on it that should not be, and where it ends.

use std::collections::VecDeque;

use super::super::Refused;
use super::super::frame::{self, HEADER, Kind, MOST, NONCE, VERSION, parse};
use super::*;

/// A guest that says what is scripted: a piece each time it is listened to.
struct Scripted {
    pieces: VecDeque<Vec<u8>>,
    is_polite: bool,
    nonce: Option<[u8; NONCE]>,
    /// Whether a request has come; before that, a polite guest only greets.
    is_asked: bool,
    has_listener: bool,
}

impl Scripted {
    fn new(is_polite: bool, pieces: &[&[u8]]) -> Box<Self> {
        let pieces = pieces.iter().map(|piece| piece.to_vec()).collect();
        Box::new(Self { pieces, is_polite, nonce: None, is_asked: false, has_listener: true })
    }
}

impl Port for Scripted {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Ok((Some(frame), _)) = parse(bytes) {
            match frame.kind {
                Kind::Hello => self.nonce = frame.content.try_into().ok(),
                _ => self.is_asked = true,
            }
        }
        Ok(bytes.len())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = match self.nonce.take().filter(|_| self.is_polite) {
            Some(nonce) => [&frame::header(Kind::Greeting, 0, 4 + NONCE)[..], &VERSION.to_le_bytes(), &nonce].concat(),
            None if self.is_polite && !self.is_asked => return Err(io::ErrorKind::WouldBlock.into()),
            None if self.pieces.is_empty() => return Ok(0),
            None => self.pieces.pop_front().unwrap(),
        };
        buffer[..piece.len()].copy_from_slice(&piece);
        if piece.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(piece.len()) }
    }

    fn wait(&mut self, _bell: BorrowedFd<'_>, _to_send: bool) {
        std::thread::sleep(Duration::from_millis(10));
    }

    fn is_waited_at(&mut self) -> bool {
        self.has_listener
    }
}

#[test]
fn a_line_without_the_program_is_refused() {
    let refused = |pieces: &[&[u8]]| Session::open(Scripted::new(false, pieces)).err().unwrap();
    assert_eq!(refused(&[b"h\0\0", b"\0\0"]), Refused::Other);
    assert_eq!(refused(&[]), Refused::Silent("the guest has stopped".to_string()));
    let mut deaf = Scripted::new(false, &[&b""[..]; 1000]);
    deaf.has_listener = false;
    let silent = Refused::Silent("the program in the guest does not answer".to_string());
    assert_eq!(Session::open(deaf).err().unwrap(), silent);
}

#[test]
fn a_program_of_another_version_is_another_program() {
    struct Newer(Vec<u8>);
    impl Port for Newer {
        fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let nonce = &bytes[HEADER..];
            let header = frame::header(Kind::Greeting, 0, 4 + NONCE);
            self.0 = [&header[..], &(VERSION + 1).to_le_bytes(), nonce].concat();
            Ok(bytes.len())
        }
        fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            (&self.0[..]).read(buffer)
        }
        fn wait(&mut self, _bell: BorrowedFd<'_>, _to_send: bool) {}
        fn is_waited_at(&mut self) -> bool {
            true
        }
    }
    assert_eq!(Session::open(Box::new(Newer(Vec::new()))).err().unwrap(), Refused::Other);
}

#[test]
fn what_no_guest_would_say_ends_the_session() {
    let rubbish: [&[u8]; 7] = [
        b"?\0\0\0\0\0\0\0\0",
        b"o\x01\0\0\0\xff\xff\xff\xff",
        b"x\x01\0\0\0\x01\0\0\0\x01",
        b"x\x01\0\0\0\0\0\0\0",
        b"H\x01\0\0\0\0\0\0\0",
        // A stream with a number of the host's.
        b"a\x01\0\0\0\x04\0\0\0\x02\0\0\0",
        b"\xffo\x01\0\0\0\x01\0\0\0\x01",
    ];
    for rubbish in rubbish {
        let begun: [&[u8]; 4] = [b"", b"b\x01\0\0\0\0\0\0\0", b"", rubbish];
        let session = Session::open(Scripted::new(true, &begun)).unwrap();
        let error = text_of(session.run(&Command::argv(["ls"]), Source::Whole(&[]), &mut |_, _| {}, &stop()));
        let unclear = "cannot understand what the guest's end of the line sends";
        assert!(error.contains(unclear), "{rubbish:?}: {error}");
        assert_eq!(session.over().unwrap(), unclear);
    }
}

#[test]
fn what_was_not_begun_is_told_from_what_was_lost() {
    let run = |pieces: &[&[u8]]| {
        let session = Session::open(Scripted::new(true, pieces)).unwrap();
        text_of(session.run(&Command::argv(["ls", "-l"]), Source::Whole(&[]), &mut |_, _| {}, &stop()))
    };
    assert_eq!(run(&[b"", b""]), "not begun: the guest has stopped");
    let lost = "lost `ls -l` in the guest: the guest has stopped";
    assert_eq!(run(&[b"b\x01\0\0\0\0\0\0\0", b"", b""]), lost);

    let mut left = Scripted::new(true, &[&b""[..]; 1000]);
    left.has_listener = false;
    let session = Session::open(left).unwrap();
    let error = session.read("/etc/hosts", &mut Vec::new(), &stop());
    assert_eq!(text_of(error), "not begun: the guest restarted meanwhile, or our program in it was killed");
}

#[test]
fn frames_come_as_they_like() {
    let frame = |kind, content: &[u8]| [&frame::header(kind, 1, content.len())[..], content].concat();
    let all = [
        frame(Kind::Begun, b""),
        frame(Kind::Output, b"one"),
        b"\0\0\0".to_vec(),
        frame(Kind::Errors, b"oops"),
        // Of a request that was given up.
        frame::header(Kind::Output, 7, 0).to_vec(),
        frame(Kind::Exit, &3_i32.to_le_bytes()),
    ]
    .concat();
    for size in [1, 2, 7, 1000] {
        let pieces: Vec<&[u8]> = all.chunks(size).collect();
        let session = Session::open(Scripted::new(true, &pieces)).unwrap();
        assert_eq!(ran(&session, &Command::argv(["ls"])), said(3, "one", "oops"));
    }
}

/// Numbers that look like chance and are the same in each run.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }

    /// Makes bytes that are frames in part.
    pub fn bytes(&mut self) -> Vec<u8> {
        const LETTERS: &[u8] = b"HGPWXRCAcliaemkgbordfx\0?";
        let mut bytes = Vec::new();
        for _ in 0..self.next(8) {
            let length = [0, 1, 4, 16, 40, 300][self.next(6)];
            let told = [length, length, length, length + 1, MOST + 1, 1 << 30][self.next(6)];
            bytes.push(LETTERS[self.next(LETTERS.len())]);
            bytes.extend((self.next(3) as u32).to_le_bytes());
            bytes.extend((told as u32).to_le_bytes());
            bytes.extend((0..length).map(|_| self.next(256) as u8));
        }
        for _ in 0..self.next(4) {
            if !bytes.is_empty() {
                let place = self.next(bytes.len());
                bytes[place] = self.next(256) as u8;
            }
        }
        bytes.truncate(self.next(bytes.len() + 1));
        bytes
    }
}

#[test]
fn the_hosts_parser_survives_anything() {
    let mut chance = Chance::new(17);
    for _ in 0..200_000 {
        let bytes = chance.bytes();
        let mut place = 0;
        while let Ok((Some(frame), length)) = parse(&bytes[place..]) {
            assert!(length >= HEADER + frame.content.len());
            let _ = super::super::line::answer(frame);
            place += length;
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_guests_parser_survives_anything() {
    let (mut guest, mut line) = Guest::start();
    let mut chance = Chance::new(4711);
    for round in 0..300 {
        line.set_nonblocking(false).unwrap();
        // In half of the rounds as a connection that has begun, with the right nonce at the end of each request.
        let mut sent = if round % 2 == 0 { vec![0; HEADER + MOST] } else { Vec::new() };
        if round % 2 == 0 {
            sent.extend(frame::header(Kind::Hello, 0, NONCE));
            sent.extend([7; NONCE]);
            for kind in [Kind::Execute, Kind::Read, Kind::Write, Kind::Await, Kind::Connect, Kind::Listen, Kind::Reset]
            {
                // Requests that are refused, never commands or ports.
                let is_port = matches!(kind, Kind::Connect | Kind::Listen);
                let length = Some(chance.next(12)).filter(|length| !is_port || *length != 4).unwrap_or(5);
                let content: Vec<u8> = (0..length).map(|_| chance.next(4) as u8).chain([7; NONCE]).collect();
                sent.extend(frame::header(kind, 1 + chance.next(3) as u32, content.len()));
                sent.extend(content);
            }
        }
        sent.extend(chance.bytes().into_iter().filter(|byte| *byte != b'W' && *byte != b'k'));
        line.write_all(&sent).unwrap();
        assert!(guest.child.try_wait().unwrap().is_none(), "it ended in round {round}");
    }
    line.set_nonblocking(true).unwrap();
    // Whatever it is in the middle of, it answers the next host.
    let session = Session::open(Box::new(Socket(line))).unwrap();
    assert_eq!(ran(&session, &Command::argv(["echo", "there"])), said(0, "there\n", ""));
    drop(session);
    guest.child.wait().unwrap();
}

#[cfg(target_arch = "x86_64")]
#[test]
fn what_an_earlier_connection_left_unfinished_is_passed_over() {
    let (_guest, mut line) = Guest::start();
    line.write_all(&frame::header(Kind::Hello, 0, NONCE)).unwrap();
    line.write_all(&[9; NONCE]).unwrap();
    line.write_all(&frame::header(Kind::Execute, 1, 20_000)).unwrap();
    line.write_all(b"some of it").unwrap();
    let session = Session::open(Box::new(Socket(line))).unwrap();
    assert_eq!(ran(&session, &Command::argv(["echo", "there"])), said(0, "there\n", ""));
}

#[test]
fn a_guest_that_does_not_understand_ends_the_session() {
    let answers: [&[u8]; 4] = [b"", b"b\x01\0\0\0\0\0\0\0", b"", b"f\0\0\0\0\x04\0\0\0\x47\0\0\0"];
    let session = Session::open(Scripted::new(true, &answers)).unwrap();
    let error = text_of(session.run(&Command::argv(["ls"]), Source::Whole(&[]), &mut |_, _| {}, &stop()));
    let why = "the program in the guest cannot understand what it was sent";
    assert!(error.ends_with(why), "{error}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_request_of_another_connection_is_not_carried_out() {
    let (_guest, mut line) = Guest::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let request = [&frame::NO_MODE.to_le_bytes()[..], file.as_os_str().as_encoded_bytes(), &[0], &[8; NONCE]].concat();
    line.write_all(&frame::header(Kind::Hello, 0, NONCE)).unwrap();
    line.write_all(&[9; NONCE]).unwrap();
    line.write_all(&frame::header(Kind::Write, 1, request.len())).unwrap();
    line.write_all(&request).unwrap();
    let session = Session::open(Box::new(Socket(line))).unwrap();
    assert_eq!(ran(&session, &Command::argv(["echo", "there"])), said(0, "there\n", ""));
    assert!(!file.exists());
}
