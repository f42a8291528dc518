//! Decompression: streams of bytes into files with holes.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use super::budget::Budget;
use super::kind::{self, Compression, Kind};
use super::subject::Subject;
use crate::error::{Because, Error, Result};
use crate::stop::Interrupt;

/// How much memory a decoder may take. The strongest presets of xz and zstd need some 130 MiB.
const MEMORY: u64 = 512 << 20;
const MEMORY_LOG: u32 = MEMORY.ilog2();
/// Blocks of zeros of this size become holes.
const BLOCK: usize = 64 << 10;
/// How often, in blocks, the file system is asked for its free space.
const LOOK: u64 = 256;

impl Compression {
    /// Reads what is packed: all members, streams and frames that the file has.
    pub fn reader<'a>(self, packed: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        const CHUNK: usize = 1 << 18;
        let packed = BufReader::with_capacity(CHUNK, packed);
        Ok(match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Self::Bzip2 => Box::new(MultiBzDecoder::new(packed)),
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

/// What writing a stream into a file needs.
pub struct Pouring<'a> {
    pub budget: &'a Budget,
    pub interrupt: &'a Interrupt,
    pub subject: &'a Subject,
    /// Is told of each block.
    pub seen: &'a mut dyn FnMut(&[u8]),
}

impl Pouring<'_> {
    /// Writes all that `from` has into a new file, and returns how much that is; zeros become holes.
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

/// Tells what a file is when all its compression is taken off, as far as the beginning tells it.
pub fn peek(file: &File, deepest: usize) -> io::Result<Kind> {
    let mut kind = kind::tell(file)?;
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    let mut reader: Box<dyn Read + '_> = Box::new(file);
    for _ in 0..deepest {
        let Kind::Packed(compression) = kind else { return Ok(kind) };
        reader = compression.reader(reader)?;
        let head = kind::read_head(&mut reader)?;
        // The size is not known; a whole number of sectors is as good as any.
        kind = kind::tell_head(&head, kind::HEAD as u64);
        reader = Box::new(io::Cursor::new(head).chain(reader));
    }
    Ok(kind)
}

#[cfg(test)]
pub(super) mod tests;
