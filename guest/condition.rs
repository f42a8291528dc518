//! What the host waits for.

use alloc::vec::Vec;

use crate::frame::{take_number, take_text};
use crate::linux::{self, EAGAIN, Errno, File, READ_ONLY, Text};

/// In milliseconds: between two looks, at first and at most.
const SHORTEST_PAUSE: usize = 5;
const LONGEST_PAUSE: usize = 20;
const TABLES: [&[u8]; 2] = [b"/proc/net/tcp\0", b"/proc/net/tcp6\0"];
/// The state of a socket that listens, in the kernel's tables.
const LISTENS: &[u8] = b"0A";

/// A condition that becomes true.
pub enum Condition {
    Exists(Vec<u8>),
    Listens(u16),
}

impl Condition {
    pub fn parse(mut content: &[u8]) -> Option<Self> {
        let port = take_number(&mut content)?;
        let path = take_text(&mut content)?;
        match u16::try_from(port).ok()? {
            0 => Some(Self::Exists(path.to_vec())),
            port => Some(Self::Listens(port)),
        }
    }

    /// Starts a process that ends once it is true. A look may take for ever, as on a file system of the network whose
    /// server is gone, and must not stop everything else.
    pub fn watch(&self) -> Result<usize, Errno> {
        let child = linux::fork()?;
        if child != 0 {
            return Ok(child);
        }
        linux::end_with_parent();
        // The port, and the ends of pipes that others wait for.
        linux::close_all();
        let mut pause = SHORTEST_PAUSE;
        while !self.is_true() {
            linux::poll(&mut [], pause);
            pause = (pause + 1).min(LONGEST_PAUSE);
        }
        linux::exit(0)
    }

    fn is_true(&self) -> bool {
        match self {
            Self::Exists(path) => Text::new(path).is_some_and(linux::exists),
            Self::Listens(port) => TABLES.into_iter().any(|table| listens(table, *port) == Ok(true)),
        }
    }
}

/// Looks for a socket that listens on a port in one of the kernel's tables, which begin with those that listen.
fn listens(table: &[u8], port: u16) -> Result<bool, Errno> {
    let file = File::open(Text::new(table).ok_or(EAGAIN)?, READ_ONLY, 0)?;
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(false);
        }
        text.extend_from_slice(&buffer[..length]);
        let lines = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for line in text.drain(..lines).as_slice().split(|byte| *byte == b'\n') {
            match socket(line) {
                Some((LISTENS, its)) if its == port => return Ok(true),
                // The heading, or the rest of the last line.
                Some((LISTENS, _)) | None => {}
                Some(_) => return Ok(false),
            }
        }
    }
}

/// Returns the state and the port of a socket, from its line in a table.
fn socket(line: &[u8]) -> Option<(&[u8], u16)> {
    let mut fields = line.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    let (_, local, _, state) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let port = local.rsplit(|byte| *byte == b':').next()?;
    let digit = |byte: &u8| (*byte as char).to_digit(16);
    let port = port.iter().try_fold(0, |port, byte| Some(port << 4 | digit(byte)?))?;
    Some((state, u16::try_from(port).ok()?))
}
