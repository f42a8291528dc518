//! The program in a guest that serves its host through a port of a virtio-serial card: commands, files, and the clock
//! of a guest that resumes from a frozen state. It needs nothing of the guest but its kernel, and a shell to kill with,
//! so that it is ready in no time even if the processor is emulated. `build.rs` compiles it.
//!
//!   snaptree-channel PORT           waits at a port, in a process of its own
//!   snaptree-channel -              serves a socket that is its standard input, for tests
//!   snaptree-channel SECONDS SEED [reset]
//!                                   wakes the guest, resets connections that lead outside of it, and ends
//!   snaptree-channel from-disk SERIAL LENGTH MODE PATH
//!   snaptree-channel to-disk SERIAL LENGTH PATH
//!                                   copies a file from or to a disk, and ends

#![no_std]
#![no_main]

extern crate alloc;

mod command;
mod condition;
mod connection;
#[path = "../src/channel/digest.rs"]
mod digest;
mod disk;
#[path = "../src/channel/frame.rs"]
#[allow(dead_code, reason = "the other half is the host's")]
mod frame;
mod input;
mod linux;
mod memory;
mod outgoing;
mod resets;
mod server;
mod socket;
mod stream;

use alloc::vec::Vec;

use linux::{EBUSY, File, NONBLOCK, READ_WRITE, Start, Text};
use server::Server;

const DEV_NULL: &[u8] = b"/dev/null\0";
const ROOT: &[u8] = b"/\0";

fn main(start: &Start) -> ! {
    let words: Vec<Text<'_>> = start.words().skip(1).collect();
    let variables: Vec<Text<'static>> = start.variables().collect();
    match words[..] {
        [name] if name.bytes() == b"-" => Server::new(File::inherited(File::STDIN), variables, false).serve(),
        [name] => wait_at(name, variables),
        [seconds, seed] => wake(seconds, seed),
        [seconds, seed, _] => {
            let _ = resets::reset_connections();
            wake(seconds, seed)
        }
        [verb, serial, length, mode, path] if verb.bytes() == b"from-disk" => {
            disk::from_disk(serial, length, mode, path)
        }
        [verb, serial, length, path] if verb.bytes() == b"to-disk" => disk::to_disk(serial, length, path),
        _ => linux::exit(2),
    }
}

fn wake(seconds: Text<'_>, seed: Text<'_>) -> ! {
    let seconds = seconds.bytes().iter().fold(0_u64, |number, digit| number * 10 + u64::from(digit.wrapping_sub(b'0')));
    linux::reseed(seed.bytes());
    linux::exit(linux::set_clock(seconds, 0).is_err().into())
}

fn wait_at(name: Text<'_>, variables: Vec<Text<'static>>) -> ! {
    let port = match File::open(name, READ_WRITE | NONBLOCK, 0) {
        Ok(port) => port,
        // Another one of these waits there already.
        Err(EBUSY) => linux::exit(0),
        Err(_) => linux::exit(1),
    };
    if linux::fork() != Ok(0) {
        linux::exit(0);
    }
    linux::begin_session();
    let _ = Text::new(ROOT).map(linux::enter);
    if let Some(Ok(nothing)) = Text::new(DEV_NULL).map(|name| File::open(name, READ_WRITE, 0)) {
        (File::STDIN..=File::STDERR).for_each(|number| nothing.become_number(number));
    }
    Server::new(port, variables, true).serve()
}
