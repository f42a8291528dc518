//! Files of the guest, through a disk that is attached for that.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::time::{Duration, Instant};

use crate::agent::agent::Agent;
use crate::agent::transport::Transport;
use crate::channel::Reading::{Long, Whole};
use crate::channel::{Digest, Session, Source, Trouble, system_error};
use crate::error::{Because, Error, Kind, Result};
use crate::hypervisor::{Command, CommandLine, Exit};
use crate::stop::Stop;
use crate::trace;

/// From this many bytes on, a disk is quicker than the channel.
pub const WORTH_A_DISK: u64 = 32 << 20;
/// The program in the guest.
const PROGRAM: &str = "/proc/self/exe";
const NO_DISK: Exit = Exit(3);
const REFUSED: Exit = Exit(4);
/// How long a guest may take to see its new disk.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const PIECE: usize = 1 << 20;
const SECTOR: u64 = 512;

/// The system's number for what is longer than it may be.
const TOO_LONG: u64 = 7;
const FALLBACK: &str = "no disk for a file";

/// How a copy ended that did not fail.
enum Copied {
    All {
        digest: u64,
        length: u64,
    },
    /// The disk is of no use; this is why.
    NoDisk(String),
}

const DAMAGED: &str = "what was copied is not what was sent";

impl<T: Transport> Agent<T> {
    /// Replaces a file with what `source` yields. What is small goes through the channel, and so does everything where no
    /// disk can be attached.
    pub fn write_by_disk(
        &self,
        session: &Session,
        path: &str,
        source: &mut dyn Read,
        mode: Option<u32>,
        stop: &Stop,
    ) -> Result<u64, Trouble> {
        let cannot_read = || format!("cannot read what is to be in `{path}`");
        let mut head = Vec::new();
        source.take(WORTH_A_DISK).read_to_end(&mut head).because(cannot_read)?;
        if (head.len() as u64) < WORTH_A_DISK {
            return session.write(path, &mut &head[..], mode, stop);
        }
        let scratch = match self.calls.transport.scratch() {
            Ok(scratch) => scratch,
            Err(why) => {
                let _span = trace::span_of(FALLBACK, || why);
                return session.write(path, &mut head.chain(source), mode, stop);
            }
        };
        let (length, digest) = fill(&scratch.file, &mut head.chain(source), stop).because(cannot_read)?;
        let failed = || format!("cannot write `{path}` in the guest");
        let copied = match self.calls.transport.attach(&scratch, true) {
            Err(why) => Copied::NoDisk(why),
            Ok(disk) => {
                let mode = mode.map(|mode| format!("{mode:o}")).unwrap_or_default();
                copy(session, ["from-disk", disk.serial(), &length.to_string(), &mode, path], &failed, stop)?
            }
        };
        match copied {
            Copied::All { digest: theirs, .. } if theirs == digest => Ok(length),
            Copied::All { .. } => Err(Error::failed(failed()).cause(DAMAGED).into()),
            Copied::NoDisk(why) => {
                let _span = trace::span_of(FALLBACK, || why);
                let mut file = &scratch.file;
                file.rewind().because(cannot_read)?;
                session.write(path, &mut file.take(length), mode, stop)
            }
        }
    }

    /// Reads a whole file into `sink`, in the same ways.
    pub fn read_by_disk(
        &self,
        session: &Session,
        path: &str,
        sink: &mut dyn Write,
        stop: &Stop,
    ) -> Result<u64, Trouble> {
        let size = match session.read_below(path, sink, Some(WORTH_A_DISK), stop)? {
            Whole(length) => return Ok(length),
            Long(size) => size,
        };
        let why = match self.read_long(session, path, size, sink, stop)? {
            Ok(length) => return Ok(length),
            Err(why) => why,
        };
        let _span = trace::span_of(FALLBACK, || why);
        session.read(path, sink, stop)
    }

    /// Reads a file of this size; says why not, before anything is in `sink`.
    fn read_long(
        &self,
        session: &Session,
        path: &str,
        size: u64,
        sink: &mut dyn Write,
        stop: &Stop,
    ) -> Result<Result<u64, String>, Trouble> {
        let scratch = match self.calls.transport.scratch() {
            Ok(scratch) => scratch,
            Err(why) => return Ok(Err(why)),
        };
        let failed = || format!("cannot read `{path}` in the guest");
        let mut file = &scratch.file;
        file.set_len(size.next_multiple_of(PIECE as u64)).because(failed)?;
        let copied = match self.calls.transport.attach(&scratch, false) {
            Err(why) => return Ok(Err(why)),
            Ok(disk) => copy(session, ["to-disk", disk.serial(), &size.to_string(), path], &failed, stop)?,
        };
        let (digest, length) = match copied {
            Copied::All { digest, length } => (digest, length),
            Copied::NoDisk(why) => return Ok(Err(why)),
        };
        if digest_of(file.take(length)).because(failed)? != digest {
            return Err(Error::failed(failed()).cause(DAMAGED).into());
        }
        file.rewind().because(failed)?;
        io::copy(&mut file.take(length), sink)
            .because(|| format!("cannot keep what was read from `{path}` in the guest"))?;
        Ok(Ok(length))
    }
}

/// Lets the guest copy; waits until it has the disk.
fn copy<const N: usize>(
    session: &Session,
    words: [&str; N],
    failed: &dyn Fn() -> String,
    stop: &Stop,
) -> Result<Copied, Trouble> {
    let words = [PROGRAM].into_iter().chain(words).map(str::to_string).collect();
    let command = Command::new(CommandLine::Argv(words));
    let _span = trace::span("copy by a disk");
    let since = Instant::now();
    loop {
        let mut said = Vec::new();
        let mut keep = |_, bytes: &[u8]| said.extend_from_slice(bytes);
        let ran = session.run(&command, Source::Whole(&[]), &mut keep, stop);
        let exit = ran.map_err(|trouble| named(trouble, failed))?;
        let said = String::from_utf8_lossy(&said).into_owned();
        let mut numbers = said.split(' ').map_while(|word| word.parse::<u64>().ok());
        return match (exit, numbers.next(), numbers.next()) {
            (Exit(0), Some(digest), Some(length)) => Ok(Copied::All { digest, length }),
            // The file is longer than it was.
            (REFUSED, Some(TOO_LONG), _) => Ok(Copied::NoDisk("the file grows".to_string())),
            (REFUSED, Some(number), _) => {
                Err(Error::failed(failed()).cause(system_error(number.try_into().unwrap_or_default())).into())
            }
            (NO_DISK, ..) if since.elapsed() < PATIENCE => {
                stop.sleep(LOOK_AGAIN);
                continue;
            }
            (NO_DISK, ..) => Ok(Copied::NoDisk("the guest does not see the disk".to_string())),
            // An older program in the guest cannot.
            _ => Ok(Copied::NoDisk(format!("the copy ended with status {}", exit.0))),
        };
    }
}

/// Fills a file for a disk; returns the length of the content and its digest.
fn fill(mut file: &File, source: &mut dyn Read, stop: &Stop) -> io::Result<(u64, u64)> {
    let _span = trace::span("fill a disk");
    let (mut digest, mut length, mut piece) = (Digest::new(), 0, vec![0; PIECE]);
    loop {
        stop.check(|| "filling a disk".to_string()).map_err(io::Error::other)?;
        match source.read(&mut piece) {
            Ok(0) => break,
            Ok(got) => {
                digest.add(&piece[..got]);
                file.write_all(&piece[..got])?;
                length += got as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    file.set_len(length.next_multiple_of(SECTOR))?;
    Ok((length, digest.finish()))
}

fn digest_of(mut source: impl Read) -> io::Result<u64> {
    let (mut digest, mut piece) = (Digest::new(), vec![0; PIECE]);
    loop {
        match source.read(&mut piece)? {
            0 => return Ok(digest.finish()),
            got => digest.add(&piece[..got]),
        }
    }
}

/// Names the copy in the place of the command that carried it out.
fn named(trouble: Trouble, failed: &dyn Fn() -> String) -> Trouble {
    let name = |error: Error| match error.kind {
        Kind::Failed => Error { message: failed(), hint: None, ..error },
        _ => error,
    };
    match trouble {
        Trouble::Lost(error) => Trouble::Lost(name(error)),
        Trouble::Failed(error) => Trouble::Failed(name(error)),
        Trouble::NotBegun(why) => Trouble::NotBegun(why),
    }
}
