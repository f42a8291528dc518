//! The beginning of a connection.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::channel::frame::{self, HEADER, Kind, MOST, NONCE, VERSION};
use crate::channel::port::Port;

/// How long the guest may take to answer the first hello; each further one has twice as long.
const FIRST_PATIENCE: Duration = Duration::from_millis(500);
/// How long it may take in all. A guest that has just resumed on a busy host has much to do.
const PATIENCE: Duration = Duration::from_secs(15);

/// The first that programs of older snaptrees say.
const OLD_PROGRAM: &[u8] = b"h\0\0\0\0";
pub const HUNG_UP: &str = "the guest has stopped";

/// Why a connection did not begin.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// A program waits there that speaks another protocol.
    Other,
    /// None answers.
    Silent(String),
}

/// Says hello until the guest answers. Returns what has arrived after the answer.
pub fn greet(port: &mut dyn Port, bell: &OwnedFd, nonce: &[u8; NONCE]) -> Result<Vec<u8>, Refused> {
    let silent = |error: io::Error| Refused::Silent(error.to_string());
    let hello = [&frame::header(Kind::Hello, 0, NONCE)[..], nonce].concat();
    // What an earlier connection left unfinished would swallow the hello.
    let filler = [0; HEADER + MOST];
    let started = Instant::now();
    let (mut to_send, mut arrived, mut buffer) = (hello.clone(), Vec::new(), [0; 4096]);
    let (mut said, mut patience) = (Instant::now(), FIRST_PATIENCE);
    loop {
        if !to_send.is_empty() {
            match port.send(&to_send) {
                Ok(length) => drop(to_send.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(silent(error)),
            }
        }
        match port.receive(&mut buffer) {
            Ok(0) => return Err(Refused::Silent(HUNG_UP.to_string())),
            Ok(length) => {
                arrived.extend(&buffer[..length]);
                // Before it, there may be the end of what an earlier connection was sent.
                if let Some(place) = arrived.windows(NONCE).position(|window| window == nonce) {
                    let version = VERSION.to_le_bytes();
                    let is_ours = place >= version.len() && arrived[..place].ends_with(&version);
                    return if is_ours { Ok(arrived.split_off(place + NONCE)) } else { Err(Refused::Other) };
                }
                if arrived.starts_with(OLD_PROGRAM) {
                    return Err(Refused::Other);
                }
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(silent(error)),
        }
        if said.elapsed() > patience {
            if started.elapsed() > PATIENCE || !port.is_waited_at() {
                return Err(Refused::Silent("the program in the guest does not answer".to_string()));
            }
            to_send.extend([&filler[..], &hello].concat());
            (said, patience) = (Instant::now(), patience * 2);
        }
        port.wait(bell.as_fd(), !to_send.is_empty());
    }
}
