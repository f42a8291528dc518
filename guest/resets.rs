//! The connections that a guest had open when it was frozen: those with another end outside of it have none any more.

use alloc::vec;
use alloc::vec::Vec;

use crate::linux::{EAGAIN, EINTR, Errno, File, READ_ONLY, Text};

/// An address of the sixth version, or one of the fourth as it is written in that.
type Address = [u8; 16];

const OF_VERSION_4: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
const LOOPBACK: Address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const LOOPBACK_NETWORK: u8 = 127;

/// The kernel's tables of connections, each with its family of addresses.
const TABLES: [(&[u8], u8); 2] = [(b"/proc/net/tcp\0", 2), (b"/proc/net/tcp6\0", 10)];

const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
const CLOSE_WAIT: u8 = 8;
/// Those in which a program waits for the other end.
const AWAITED: [u8; 3] = [ESTABLISHED, SYN_SENT, CLOSE_WAIT];
/// `FIN_WAIT1`, `FIN_WAIT2`, `LAST_ACK` and `CLOSING`.
const CLOSING: [u8; 4] = [4, 5, 9, 11];

/// The system's error for what the kernel was built without.
const NOT_SUPPORTED: Errno = Errno(95);

struct Connection {
    family: u8,
    local: (Address, u16),
    remote: (Address, u16),
    state: u8,
}

impl Connection {
    /// Reads a line of a table.
    fn read(line: &[u8], family: u8) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ').filter(|field| !field.is_empty()).skip(1);
        let (local, remote) = (end(fields.next()?)?, end(fields.next()?)?);
        let state = number(fields.next()?)? as u8;
        Some(Self { family, local, remote, state })
    }

    /// Says whether a request of the kernel's would find its other end on another host.
    fn leads_outside(&self, all: &[Self]) -> bool {
        let is_inside = [self.local.0, self.remote.0].iter().any(is_loopback)
            || all.iter().any(|other| other.local == self.remote && other.remote == self.local);
        !is_inside && (AWAITED.contains(&self.state) || CLOSING.contains(&self.state))
    }

    /// The kernel's request that ends it (`SOCK_DESTROY`).
    fn destruction(&self) -> Vec<u8> {
        const LENGTH: u32 = 72;
        const SOCK_DESTROY: u16 = 21;
        const REQUEST_AND_ACKNOWLEDGE: u16 = 1 | 4;
        const TCP: u8 = 6;
        let mut request = Vec::new();
        request.extend_from_slice(&LENGTH.to_le_bytes());
        request.extend_from_slice(&SOCK_DESTROY.to_le_bytes());
        request.extend_from_slice(&REQUEST_AND_ACKNOWLEDGE.to_le_bytes());
        // A number and a sender, which the kernel does without.
        request.extend_from_slice(&[0; 8]);
        request.extend_from_slice(&[self.family, TCP, 0, 0]);
        let any_state = u32::MAX;
        request.extend_from_slice(&any_state.to_le_bytes());
        request.extend_from_slice(&self.local.1.to_be_bytes());
        request.extend_from_slice(&self.remote.1.to_be_bytes());
        for address in [&self.local.0, &self.remote.0] {
            let version_4 = address.strip_prefix(&OF_VERSION_4).filter(|_| self.family == TABLES[0].1);
            let bytes = version_4.unwrap_or(address);
            request.extend_from_slice(bytes);
            request.resize(request.len() + address.len() - bytes.len(), 0);
        }
        let (any_card, any_socket) = (0_u32, u64::MAX);
        request.extend_from_slice(&any_card.to_le_bytes());
        request.extend_from_slice(&any_socket.to_le_bytes());
        request
    }
}

/// Resets every TCP connection whose other end is outside of the guest. Fails if programs still wait for one.
pub fn reset_connections() -> Result<(), Errno> {
    let all = list()?;
    let outside = all.iter().filter(|connection| connection.leads_outside(&all));
    let mut failed = NOT_SUPPORTED;
    let mut kernel = None;
    for connection in outside {
        let socket = match &kernel {
            Some(socket) => socket,
            None => kernel.insert(File::to_kernel_about_sockets()?),
        };
        if let Err(error) = socket.write(&connection.destruction()).and_then(|_| acknowledged(socket)) {
            failed = error;
        }
    }
    if kernel.is_none() {
        return Ok(());
    }
    let left = list()?;
    let is_left = |connection: &Connection| AWAITED.contains(&connection.state) && connection.leads_outside(&left);
    if left.iter().any(is_left) { Err(failed) } else { Ok(()) }
}

/// Reads the kernel's answer, which is there once the request is written.
fn acknowledged(socket: &File) -> Result<(), Errno> {
    const PLACE: usize = 16;
    let mut answer = [0; 128];
    let length = socket.read(&mut answer)?;
    let error =
        answer[..length].get(PLACE..).and_then(|rest| rest.first_chunk()).map_or(0, |it| i32::from_le_bytes(*it));
    if error == 0 { Ok(()) } else { Err(Errno(-error)) }
}

fn list() -> Result<Vec<Connection>, Errno> {
    let mut all = Vec::new();
    for (path, family) in TABLES {
        // A kernel need not know the sixth version.
        let Some(Ok(table)) = Text::new(path).map(|path| File::open(path, READ_ONLY, 0)) else { continue };
        let text = whole(&table)?;
        all.extend(text.split(|byte| *byte == b'\n').filter_map(|line| Connection::read(line, family)));
    }
    Ok(all)
}

fn whole(file: &File) -> Result<Vec<u8>, Errno> {
    let (mut text, mut piece) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(text),
            Ok(length) => text.extend_from_slice(&piece[..length]),
            Err(EINTR | EAGAIN) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads an address and a port, as in `0F02000A:8A2E`: the address is in words as the processor has them.
fn end(text: &[u8]) -> Option<(Address, u16)> {
    const WORD: usize = 8;
    let colon = text.iter().position(|byte| *byte == b':')?;
    let mut bytes = Vec::new();
    for word in text[..colon].chunks(WORD) {
        bytes.extend_from_slice(&number(word)?.to_le_bytes());
    }
    if bytes.len() == size_of::<u32>() {
        bytes = [&OF_VERSION_4[..], &bytes].concat();
    }
    Some((bytes.try_into().ok()?, number(&text[colon + 1..])? as u16))
}

/// Reads a number in hexadecimal digits.
fn number(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0_u32, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
}

fn is_loopback(address: &Address) -> bool {
    *address == LOOPBACK || address.strip_prefix(&OF_VERSION_4).is_some_and(|bytes| bytes[0] == LOOPBACK_NETWORK)
}
