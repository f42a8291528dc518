//! A directory of the host as a tar archive, in GNU's format.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tar::{Builder, EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use crate::tree::archive::holes::{Part, parts};
use crate::tree::archive::listing::{Entry, Kind};

/// How a listing is packed.
#[derive(Clone, Copy, Debug)]
pub struct Packing {
    /// The numbers of user and group of what has none in the listing.
    pub owner: (u32, u32),
    /// Whether GNU's format for files with holes is known where it is unpacked.
    pub keeps_holes: bool,
    /// Whether directories that something is in are left out; unpacking makes those that are missing.
    pub leaves_out_parents: bool,
}

/// Writes an archive of entries below a directory, which are sorted by path.
pub fn pack(root: &Path, entries: &[Entry], packing: Packing, archive: impl Write) -> io::Result<()> {
    let mut builder = Builder::new(io::BufWriter::with_capacity(64 << 10, archive));
    for (n, entry) in entries.iter().enumerate() {
        let is_parent = entries.get(n + 1).is_some_and(|next| next.path.starts_with(&entry.path));
        if is_parent && packing.leaves_out_parents {
            continue;
        }
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", entry.path.display()));
        append(&mut builder, root, entry, packing).map_err(named)?;
    }
    builder.into_inner()?.flush()
}

fn append<W: Write>(builder: &mut Builder<W>, root: &Path, entry: &Entry, packing: Packing) -> io::Result<()> {
    let mut header = Header::new_gnu();
    let (user, group) = entry.owner.unwrap_or(packing.owner);
    header.set_uid(user.into());
    header.set_gid(group.into());
    header.set_mode(entry.mode);
    header.set_mtime(entry.modified);
    header.set_size(0);
    match &entry.kind {
        Kind::Directory => {
            header.set_entry_type(EntryType::Directory);
            finish(builder, &mut header, &entry.path, io::empty())
        }
        Kind::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            header.set_mode(0o777);
            append_link(builder, &mut header, &entry.path, target)
        }
        Kind::HardLink(of) => {
            header.set_entry_type(EntryType::Link);
            append_link(builder, &mut header, &entry.path, of)
        }
        Kind::File { size, has_holes, .. } => {
            let file = File::open(root.join(entry.place.as_ref().unwrap_or(&entry.path)))?;
            if file.metadata()?.len() != *size {
                return Err(changed());
            }
            let parts = if *has_holes && packing.keeps_holes { parts(&file, *size)? } else { None };
            header.set_entry_type(EntryType::Regular);
            match parts {
                Some(parts) => append_parts(builder, &mut header, &entry.path, &file, *size, parts),
                None => {
                    header.set_size(*size);
                    let parts = vec![Part { offset: 0, length: *size }];
                    finish(builder, &mut header, &entry.path, Parts::new(&file, parts))
                }
            }
        }
    }
}

/// Appends a header with its name, and what follows it.
fn finish<W: Write>(builder: &mut Builder<W>, header: &mut Header, path: &Path, content: impl Read) -> io::Result<()> {
    let name = path.as_os_str().as_bytes();
    let field = &mut header.as_old_mut().name;
    if name.len() >= field.len() {
        append_long(builder, b'L', name)?;
    }
    let short = &name[..name.len().min(field.len())];
    field[..short.len()].copy_from_slice(short);
    header.set_cksum();
    builder.append(header, content)
}

/// Appends a link. What it leads to is kept byte by byte.
fn append_link<W: Write>(builder: &mut Builder<W>, header: &mut Header, path: &Path, to: &Path) -> io::Result<()> {
    let target = to.as_os_str().as_bytes();
    let field = &mut header.as_old_mut().linkname;
    if target.len() >= field.len() {
        append_long(builder, b'K', target)?;
    }
    let short = &target[..target.len().min(field.len())];
    field[..short.len()].copy_from_slice(short);
    finish(builder, header, path, io::empty())
}

/// Appends a name that has no room in a header, as GNU's tar does.
fn append_long<W: Write>(builder: &mut Builder<W>, letter: u8, name: &[u8]) -> io::Result<()> {
    const PLACE: &[u8] = b"././@LongLink";
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..PLACE.len()].copy_from_slice(PLACE);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(name.len() as u64 + 1);
    header.set_entry_type(EntryType::new(letter));
    header.set_cksum();
    builder.append(&header, name.chain(&[0][..]))
}

/// Appends a file with holes: only its parts with data are in the archive, and a table of them.
fn append_parts<W: Write>(
    builder: &mut Builder<W>,
    header: &mut Header,
    path: &Path,
    file: &File,
    size: u64,
    mut parts: Vec<Part>,
) -> io::Result<()> {
    if parts.last().is_none_or(|last| last.offset + last.length < size) {
        // Tells where the file ends.
        parts.push(Part { offset: size, length: 0 });
    }
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(parts.iter().map(|part| part.length).sum());
    let gnu = header.as_gnu_mut().ok_or_else(|| io::Error::other("a header is not in GNU's format"))?;
    gnu.set_real_size(size);
    let (first, further) = parts.split_at(parts.len().min(gnu.sparse.len()));
    fill(&mut gnu.sparse, first);
    gnu.set_is_extended(!further.is_empty());
    // The rest of the table lies between the header and the data, in blocks of its own.
    let mut table = Vec::new();
    let mut chunks = further.chunks(GnuExtSparseHeader::new().sparse.len()).peekable();
    while let Some(chunk) = chunks.next() {
        let mut block = GnuExtSparseHeader::new();
        fill(&mut block.sparse, chunk);
        block.set_is_extended(chunks.peek().is_some());
        table.extend_from_slice(block.as_bytes());
    }
    finish(builder, header, path, table.chain(Parts::new(file, parts)))
}

fn fill(fields: &mut [GnuSparseHeader], parts: &[Part]) {
    for (field, part) in fields.iter_mut().zip(parts) {
        field.set_offset(part.offset);
        field.set_length(part.length);
    }
}

fn changed() -> io::Error {
    io::Error::other("it changed meanwhile")
}

/// Reads some parts of a file, one after the other.
struct Parts<'f> {
    file: &'f File,
    rest: std::vec::IntoIter<Part>,
    /// What is left of the present one.
    part: Part,
}

impl<'f> Parts<'f> {
    fn new(file: &'f File, parts: Vec<Part>) -> Self {
        Self { file, rest: parts.into_iter(), part: Part { offset: 0, length: 0 } }
    }
}

impl Read for Parts<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.part.length == 0 {
            match self.rest.next() {
                Some(part) => self.part = part,
                None => return Ok(0),
            }
        }
        let most = usize::try_from(self.part.length).unwrap_or(usize::MAX).min(buffer.len());
        let got = self.file.read_at(&mut buffer[..most], self.part.offset)?;
        if got == 0 && most > 0 {
            // The header has said how much there is.
            return Err(changed());
        }
        self.part.offset += got as u64;
        self.part.length -= got as u64;
        Ok(got)
    }
}
