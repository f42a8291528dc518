//! Copies between a file and a disk that the host has attached for that. Each runs in a process of its own, which says
//! on its output how it ended.

use alloc::vec;
use alloc::vec::Vec;

use crate::digest::Digest;
use crate::linux::{self, DIRECT, E2BIG, EINTR, EIO, Errno, File, NONBLOCK, READ_ONLY, READ_WRITE, Text};
use crate::server::open_to_write;

/// What is copied at once; memory of this size begins at a page, as the disk wants it.
const PIECE: usize = 1 << 20;
const SECTOR: usize = 512;
const STDOUT: i32 = 1;
/// The status if there is no such disk, perhaps not yet.
const NO_DISK: usize = 3;
/// The status if the system refuses something, whose number is printed.
const REFUSED: usize = 4;

/// Copies the first bytes of a disk into a file, which is replaced.
pub fn from_disk(serial: Text<'_>, length: Text<'_>, mode: Text<'_>, path: Text<'_>) -> ! {
    let disk = find(serial, READ_ONLY);
    let mode = (!mode.bytes().is_empty()).then(|| number(mode, 8) as usize);
    let copy = || {
        let file = open_to_write(path, mode)?;
        file.set_nonblocking(false);
        let (mut digest, mut left, mut piece) = (Digest::new(), number(length, 10), vec![0; PIECE]);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            let got = fill(&disk, &mut piece[..most.next_multiple_of(SECTOR)])?.min(most);
            if got == 0 {
                return Err(EIO);
            }
            digest.add(&piece[..got]);
            write_all(&file, &piece[..got])?;
            left -= got as u64;
        }
        file.close()?;
        Ok((digest.finish(), number(length, 10)))
    };
    end(copy())
}

/// Copies a file to the beginning of a disk of this length.
pub fn to_disk(serial: Text<'_>, length: Text<'_>, path: Text<'_>) -> ! {
    let disk = find(serial, READ_WRITE);
    let copy = || {
        let file = File::open(path, READ_ONLY | NONBLOCK, 0)?;
        let (mut digest, mut copied, mut piece) = (Digest::new(), 0, vec![0; PIECE]);
        loop {
            let got = fill(&file, &mut piece)?;
            copied += got as u64;
            if copied > number(length, 10) {
                return Err(E2BIG);
            }
            digest.add(&piece[..got]);
            let whole = got.next_multiple_of(SECTOR);
            piece[got..whole].fill(0);
            write_all(&disk, &piece[..whole])?;
            if got < PIECE {
                return Ok((digest.finish(), copied));
            }
        }
    };
    end(copy())
}

/// Opens the disk with a serial. Its data passes by the kernel's memory.
fn find(serial: Text<'_>, access: usize) -> File {
    let found = (b'a'..=b'z').find_map(|letter| {
        let path = [b"/sys/block/vd", &[letter][..], b"/serial\0"].concat();
        let file = File::open(Text::new(&path)?, READ_ONLY, 0).ok()?;
        let mut text = [0; 64];
        let length = file.read(&mut text).ok()?;
        if text[..length].trim_ascii_end() != serial.bytes() {
            return None;
        }
        let path = [b"/dev/vd", &[letter][..], b"\0"].concat();
        File::open(Text::new(&path)?, access | DIRECT, 0).ok()
    });
    found.unwrap_or_else(|| linux::exit(NO_DISK))
}

/// Reads until a buffer is full or the file ends.
fn fill(file: &File, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(got) => length += got,
            Err(EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn write_all(file: &File, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(EIO),
            Ok(length) => bytes = &bytes[length..],
            Err(EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn number(text: Text<'_>, base: u64) -> u64 {
    text.bytes().iter().fold(0, |number, digit| number * base + u64::from(digit.wrapping_sub(b'0')))
}

fn digits(mut number: u64) -> Vec<u8> {
    let mut digits = vec![b'0' + (number % 10) as u8];
    while number >= 10 {
        number /= 10;
        digits.insert(0, b'0' + (number % 10) as u8);
    }
    digits
}

/// Prints the digest and the length, or the number of an error.
fn end(copied: Result<(u64, u64), Errno>) -> ! {
    let (text, status) = match copied {
        Ok((digest, length)) => ([&digits(digest)[..], b" ", &digits(length)].concat(), 0),
        Err(error) => (digits(error.0 as u64), REFUSED),
    };
    let _ = File::inherited(STDOUT).write(&text);
    linux::exit(status)
}
