//! TCP on the guest's own loopback.

use crate::linux::{CLOSE_ON_EXEC, Errno, File, NONBLOCK, call, call3, number};

/// The connection is not made yet.
pub const EINPROGRESS: Errno = Errno(115);

const STREAM: usize = 1;
const TCP: usize = 6;
const SOCKET: usize = 1;
const BACKLOG: usize = 128;

/// The two addresses of `localhost`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    fn number(self) -> u16 {
        match self {
            Family::V4 => 2,
            Family::V6 => 10,
        }
    }

    /// Returns the address of a port as the kernel takes it, and its length.
    fn address(self, port: u16) -> ([u8; 28], usize) {
        let mut address = [0; 28];
        address[..2].copy_from_slice(&self.number().to_ne_bytes());
        address[2..4].copy_from_slice(&port.to_be_bytes());
        match self {
            Family::V4 => {
                address[4..8].copy_from_slice(&[127, 0, 0, 1]);
                (address, 16)
            }
            Family::V6 => {
                address[23] = 1;
                (address, 28)
            }
        }
    }
}

fn socket(family: Family) -> Result<File, Errno> {
    call3(number::SOCKET, family.number().into(), STREAM | NONBLOCK | CLOSE_ON_EXEC, TCP).map(File::of)
}

fn set(file: &File, level: usize, option: usize, value: &[u32]) {
    let (address, length) = (value.as_ptr() as usize, size_of_val(value));
    let _ = call(number::SETSOCKOPT, [file.number() as usize, level, option, address, length, 0]);
}

/// Lets what is written go at once.
fn hurry(file: &File) {
    const NO_DELAY: usize = 1;
    set(file, TCP, NO_DELAY, &[1]);
}

/// Begins a connection to a port. Says whether it is made; if not, it is once it can be written to.
pub fn connect(family: Family, port: u16) -> Result<(File, bool), Errno> {
    let file = socket(family)?;
    hurry(&file);
    let (address, length) = family.address(port);
    match call3(number::CONNECT, file.number() as usize, address.as_ptr() as usize, length) {
        Ok(_) => Ok((file, true)),
        Err(EINPROGRESS) => Ok((file, false)),
        Err(error) => Err(error),
    }
}

/// Says how a connection that was begun has turned out.
pub fn outcome(file: &File) -> Result<(), Errno> {
    const ERROR: usize = 4;
    let (mut error, mut length) = (0_i32, size_of::<i32>());
    let (error_at, length_at) = (&raw mut error as usize, &raw mut length as usize);
    call(number::GETSOCKOPT, [file.number() as usize, SOCKET, ERROR, error_at, length_at, 0])?;
    if error == 0 { Ok(()) } else { Err(Errno(error)) }
}

/// Listens on a port of 127.0.0.1.
pub fn listen(port: u16) -> Result<File, Errno> {
    const REUSE_ADDRESS: usize = 2;
    let file = socket(Family::V4)?;
    set(&file, SOCKET, REUSE_ADDRESS, &[1]);
    let (address, length) = Family::V4.address(port);
    call3(number::BIND, file.number() as usize, address.as_ptr() as usize, length)?;
    call3(number::LISTEN, file.number() as usize, BACKLOG, 0)?;
    Ok(file)
}

/// Accepts a connection that waits.
pub fn accept(file: &File) -> Result<File, Errno> {
    let arguments = [file.number() as usize, 0, 0, NONBLOCK | CLOSE_ON_EXEC, 0, 0];
    let accepted = call(number::ACCEPT4, arguments).map(File::of)?;
    hurry(&accepted);
    Ok(accepted)
}

/// Tells the other end that no more comes.
pub fn end_output(file: &File) -> Result<(), Errno> {
    const WRITES: usize = 1;
    call3(number::SHUTDOWN, file.number() as usize, WRITES, 0).map(drop)
}

/// Lets the connection end as a failure when it is closed, so that the other end does not take what it has for all.
pub fn reset_when_closed(file: &File) {
    const LINGER: usize = 13;
    set(file, SOCKET, LINGER, &[1, 0]);
}
