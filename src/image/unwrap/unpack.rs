//! Decompression: streams of bytes into files with holes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Chain, Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use crate::error::{Because, Error, Result};
use crate::image::content::kind::{self, Compression, Kind};
use crate::image::unwrap::budget::Budget;
use crate::image::unwrap::subject::Subject;
use crate::stop::Interrupt;

/// How much memory a decoder may use. The strongest presets of xz and zstd need about 130 MiB.
const MEMORY: u64 = 512 << 20;
const MEMORY_LOG: u32 = MEMORY.ilog2();
/// Blocks of zeros of this size become holes.
const BLOCK: usize = 64 << 10;
/// How often, in blocks, the file system is asked for its free space.
const LOOK: u64 = 256;

impl Compression {
    /// Reads the unpacked bytes of all members, streams and frames in the file. Zeros may follow those of gzip, bzip2
    /// and xz, and anything but another member may follow those of gzip and bzip2.
    pub fn reader<'a>(self, packed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        const CHUNK: usize = 1 << 18;
        let packed = BufReader::with_capacity(CHUNK, packed);
        Ok(match self {
            Self::Gzip => Box::new(Members::<_, GzDecoder<_>>::new(packed)),
            Self::Bzip2 => Box::new(Members::<_, BzDecoder<_>>::new(packed)),
            Self::Xz => {
                let stream = Stream::new_stream_decoder(MEMORY, CONCATENATED).map_err(io::Error::other)?;
                Box::new(XzDecoder::new_stream(packed, stream))
            }
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                decoder.window_log_max(MEMORY_LOG)?;
                Box::new(decoder)
            }
        })
    }
}

/// The input of one member: the bytes already read to recognise it, and the rest.
type Rest<R> = Chain<Cursor<Vec<u8>>, R>;

/// A decoder of one member of a file that may have several in a row.
trait Member<R>: Read {
    const MAGIC: &[u8];

    /// Returns whether a member begins here, by enough bytes to rule out chance.
    fn is_beginning(bytes: &[u8]) -> bool;

    fn begin(from: Rest<R>) -> Self;
    fn end(self) -> Rest<R>;
}

impl<R: BufRead> Member<R> for GzDecoder<Rest<R>> {
    const MAGIC: &[u8] = b"\x1f\x8b";

    fn is_beginning(bytes: &[u8]) -> bool {
        const RESERVED_FLAGS: u8 = 0xe0;
        matches!(bytes, [0x1f, 0x8b, 8, flags, ..] if flags & RESERVED_FLAGS == 0)
    }

    fn begin(from: Rest<R>) -> Self {
        Self::new(from)
    }

    fn end(self) -> Rest<R> {
        self.into_inner()
    }
}

impl<R: BufRead> Member<R> for BzDecoder<Rest<R>> {
    const MAGIC: &[u8] = b"BZh";

    fn is_beginning(bytes: &[u8]) -> bool {
        bytes.starts_with(b"BZh") && bytes.get(4..10) == Some(b"1AY&SY")
    }

    fn begin(from: Rest<R>) -> Self {
        Self::new(from)
    }

    fn end(self) -> Rest<R> {
        self.into_inner()
    }
}

/// All members of a file. Bytes after the last one are not part of it: `gzip` and `bzip2` skip them as well, and
/// firmware images have padding and signatures there. If another member follows such bytes, the file is damaged.
struct Members<R, M> {
    /// None at the end.
    member: Option<M>,
    reader: PhantomData<R>,
}

impl<R: BufRead, M: Member<R>> Members<R, M> {
    fn new(from: R) -> Self {
        Self { member: Some(M::begin(Cursor::new(Vec::new()).chain(from))), reader: PhantomData }
    }
}

impl<R: BufRead, M: Member<R>> Read for Members<R, M> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let done = member.read(into)?;
            if done > 0 || into.is_empty() {
                return Ok(done);
            }
            let Some(mut rest) = self.member.take().map(M::end) else { break };
            let mut begins = Vec::new();
            rest.by_ref().take(M::MAGIC.len() as u64).read_to_end(&mut begins)?;
            if begins == M::MAGIC {
                self.member = Some(M::begin(Cursor::new(begins).chain(rest.into_inner().1)));
            } else if !begins.is_empty() && M::MAGIC.starts_with(&begins) {
                return Err(ErrorKind::UnexpectedEof.into());
            } else if is_found(Cursor::new(begins).chain(rest), M::is_beginning)? {
                return Err(io::Error::other("there is damaged data between two of its parts"));
            }
        }
        Ok(0)
    }
}

/// Returns whether `is_it` holds anywhere in the rest.
fn is_found(mut from: impl Read, is_it: fn(&[u8]) -> bool) -> io::Result<bool> {
    const CHUNK: u64 = 1 << 16;
    const LONGEST: usize = 10;
    let mut window = Vec::new();
    loop {
        let more = from.by_ref().take(CHUNK).read_to_end(&mut window)?;
        if (0..window.len()).any(|at| is_it(&window[at..])) {
            return Ok(true);
        }
        if more == 0 {
            return Ok(false);
        }
        window.drain(..window.len().saturating_sub(LONGEST));
    }
}

/// Everything needed to write a stream into a file.
pub struct Pouring<'a> {
    pub budget: &'a Budget,
    pub interrupt: &'a Interrupt,
    pub subject: &'a Subject,
    /// Called for each block.
    pub seen: &'a mut dyn FnMut(&[u8]),
}

impl Pouring<'_> {
    /// Writes everything in `from` into a new file, and returns the number of bytes; zeros become holes.
    pub fn write(&mut self, mut from: impl Read, to: &Path) -> Result<u64> {
        let failed = || format!("cannot write `{}`", to.display());
        let file = File::create_new(to).because(failed)?;
        let (mut block, zeros) = (vec![0; BLOCK], vec![0; BLOCK]);
        let (mut size, mut blocks) = (0, 0);
        loop {
            self.interrupt.check()?;
            if blocks % LOOK == 0 {
                self.budget.check_space()?;
            }
            blocks += 1;
            let filled = fill(&mut from, &mut block).map_err(|error| self.subject.damaged(&error))?;
            let piece = &block[..filled];
            self.budget.check_size(size + filled as u64)?;
            (self.seen)(piece);
            if piece != &zeros[..filled] {
                file.write_all_at(piece, size).map_err(|error| match error.kind() {
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded => self.budget.full(),
                    _ => Error::failed(failed()).cause(error),
                })?;
            }
            size += filled as u64;
            if filled < block.len() {
                return file.set_len(size).map(|()| size).because(failed);
            }
        }
    }
}

/// Reads until the block is full or the stream ends.
fn fill(from: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match from.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Detects what a file is without all of its compression, as far as the beginning shows that.
pub fn peek(file: &File, deepest: usize) -> io::Result<Kind> {
    let mut kind = kind::tell(file)?;
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    let mut reader: Box<dyn Read + '_> = Box::new(file);
    for _ in 0..deepest {
        let Kind::Packed(compression) = kind else { return Ok(kind) };
        reader = compression.reader(reader)?;
        let head = kind::read_head(&mut reader)?;
        // The size is unknown; assume a whole number of sectors.
        kind = kind::tell_head(&head, kind::HEAD as u64);
        reader = Box::new(io::Cursor::new(head).chain(reader));
    }
    Ok(kind)
}

#[cfg(test)]
pub(in crate::image) mod tests;
