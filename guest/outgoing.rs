//! What is on its way to the host.

use alloc::vec;
use alloc::vec::Vec;

use crate::frame::{self, HEADER, Kind, MOST};
use crate::linux::{Errno, File};

/// With more than this under way, nothing is read that would add to it.
const FULL: usize = 64 << 10;

/// Frames that the port has not accepted yet.
pub struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    /// What a file has just yielded.
    piece: Vec<u8>,
}

impl Outgoing {
    pub fn new() -> Self {
        Self { bytes: Vec::with_capacity(FULL + HEADER + MOST), sent: 0, piece: vec![0; MOST] }
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn has_room(&self) -> bool {
        self.bytes.len() < FULL
    }

    pub fn say(&mut self, kind: Kind, stream: u32, content: &[u8]) {
        self.bytes.extend_from_slice(&frame::header(kind, stream, content.len()));
        self.bytes.extend_from_slice(content);
    }

    pub fn say_number(&mut self, kind: Kind, stream: u32, number: u32) {
        self.say(kind, stream, &number.to_le_bytes());
    }

    /// Makes a frame of what a file yields, at most `most` bytes; says how many that were.
    pub fn pass_on(&mut self, kind: Kind, stream: u32, from: &File, most: usize) -> Result<usize, Errno> {
        let got = from.read(&mut self.piece[..most.min(MOST)]);
        if let Ok(length @ 1..) = got {
            self.bytes.extend_from_slice(&frame::header(kind, stream, length));
            self.bytes.extend_from_slice(&self.piece[..length]);
        }
        got
    }

    /// Sends as much as the port accepts.
    pub fn send(&mut self, port: &File) {
        while let Ok(length @ 1..) = port.write(&self.bytes[self.sent..]) {
            self.sent += length;
            if self.sent == self.bytes.len() {
                self.clear();
                return;
            }
        }
    }
}
