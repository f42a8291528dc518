//! Archives: the one disk in a tar, such as an OVA.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use percent_encoding::percent_decode_str;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use tar::{Archive, Entry, EntryType};

use crate::error::Result;
use crate::image::content::format::Format;
use crate::image::content::kind::{self, Kind, Trouble};
use crate::image::unwrap::subject::Subject;
use crate::image::unwrap::unpack::Pouring;
use crate::stop::Interrupt;

/// How much of an archive may be kept in memory: the names of one member, a description, a list of checksums.
const IN_MEMORY: u64 = 4 << 20;

/// The contents of a tar archive.
pub struct Tar<'a> {
    file: &'a File,
    subject: &'a Subject,
    members: Vec<Member>,
    /// The disks in the archive's OVF description, as URI references.
    described: Option<Vec<String>>,
    /// Checksums of members, in the manifest's form: `SHA256(disk.vmdk)= 9f86...`.
    manifest: String,
}

struct Member {
    name: String,
    kind: Kind,
}

/// A file reader that never reads past what is left of a limit.
struct Metered<'a> {
    file: &'a File,
    left: &'a Cell<u64>,
}

impl Read for Metered<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left.get()).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 && !buffer.is_empty() {
            return Err(io::Error::other("the names in the archive are too long"));
        }
        let done = self.file.read(&mut buffer[..most])?;
        self.left.set(self.left.get() - done as u64);
        Ok(done)
    }
}

impl Seek for Metered<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl<'a> Tar<'a> {
    /// Examines the beginning of every file in the archive.
    pub fn open(file: &'a File, subject: &'a Subject, interrupt: &Interrupt) -> Result<Self> {
        let (mut members, mut described, mut manifest) = (Vec::new(), None, String::new());
        walk(file, subject, interrupt, &mut |name, entry| {
            let head = kind::read_head(entry)?;
            let kind = kind::tell_head(&head, entry.size());
            let is_called = |ending: &str| name.to_ascii_lowercase().ends_with(ending);
            if is_called(".ovf") || is_called(".mf") {
                let mut text = head;
                entry.take(IN_MEMORY).read_to_end(&mut text)?;
                match is_called(".ovf") {
                    true => described = Some(disks_of(&text)),
                    false => manifest = String::from_utf8_lossy(&text).into_owned(),
                }
            }
            members.push(Member { name: name.to_string(), kind });
            Ok(true)
        })?;
        Ok(Self { file, subject, members, described, manifest })
    }

    /// Writes the archive's disk into a new file, and returns its name.
    pub fn extract(&self, pouring: &mut Pouring, to: &Path) -> Result<String> {
        let name = self.disk()?;
        let expected = self.expected(&name);
        let mut sum = expected.and_then(|expected| Sum::of_length(expected.len()));
        let mut outcome = Ok(0);
        let mut size = 0;
        walk(self.file, self.subject, pouring.interrupt, &mut |found, entry| {
            if found != name {
                return Ok(true);
            }
            size = entry.size();
            let mut pouring =
                Pouring { seen: &mut |piece| sum.iter_mut().for_each(|sum| sum.update(piece)), ..*pouring };
            outcome = pouring.write(entry, to);
            Ok(false)
        })?;
        // A truncated archive simply ends early when read.
        if outcome? != size {
            return Err(self.subject.damaged(&ErrorKind::UnexpectedEof.into()));
        }
        let refuse = |cause: &str, hint: &str| Err(self.subject.member(&name).refuse(&Trouble::new(cause, hint)));
        match (expected, sum.map(Sum::hex)) {
            (Some(expected), Some(actual)) if expected.eq_ignore_ascii_case(&actual) => Ok(name),
            (Some(_), Some(_)) => {
                refuse("has another checksum than the archive's manifest says", "the file is damaged: get it again")
            }
            (Some(_), None) => refuse(
                "has a checksum of an unknown kind in the archive's manifest",
                "check the archive, then unpack it and name the disk image inside",
            ),
            (None, _) => Ok(name),
        }
    }

    /// Chooses the disk: the one that the description names, or the only one that looks like a disk.
    fn disk(&self) -> Result<String> {
        let refuse = |cause: String, hint: &str| Err(self.subject.refuse(&Trouble::new(cause, hint)));
        let named = |wanted: fn(&Kind) -> bool| -> Vec<String> {
            self.members.iter().filter(|member| wanted(&member.kind)).map(|member| member.name.clone()).collect()
        };
        let mut disks = match &self.described {
            Some(described) => described.iter().map(|href| self.referred(href)).collect(),
            None => named(|kind| matches!(kind, Kind::Disk(_))),
        };
        if disks.is_empty() && self.described.is_none() {
            disks = named(|kind| matches!(kind, Kind::Packed(_) | Kind::Unknown | Kind::Disk(Format::Raw)));
        }
        disks.sort();
        disks.dedup();
        match &disks[..] {
            [] => refuse(
                "is an archive without a disk image in it".to_string(),
                "an archive of a system's files is no disk: make a disk of them first",
            ),
            [disk] if self.members.iter().any(|member| member.name == *disk) => Ok(disk.clone()),
            [disk] if self.members.iter().any(|member| is_piece(&member.name, disk)) => refuse(
                format!("is an archive whose disk `{disk}` is in pieces, which is not supported"),
                "unpack it, join the pieces in the order of their names with `cat`, and use the disk that this makes",
            ),
            [disk] => refuse(
                format!("is an archive whose description names the disk `{disk}`, which is not in it"),
                "get it again: the archive is not complete",
            ),
            _ => {
                let names: Vec<String> = disks.iter().map(|name| format!("`{name}`")).collect();
                refuse(
                    format!("is an archive with {} disks: {}", disks.len(), names.join(", ")),
                    "unpack it, and name the disk that the machine is to start from",
                )
            }
        }
    }

    /// Returns the name that a reference means. Not every program encodes the names that it refers to, so a member with
    /// exactly the name in the reference comes first.
    fn referred(&self, href: &str) -> String {
        let href = href.trim_start_matches("./");
        if self.members.iter().any(|member| member.name == href) {
            return href.to_string();
        }
        percent_decode_str(href).decode_utf8_lossy().into_owned()
    }

    /// Returns the checksum of a member in the manifest.
    fn expected(&self, name: &str) -> Option<&str> {
        self.manifest.lines().find_map(|line| {
            let (what, sum) = line.rsplit_once('=')?;
            let (_, of) = what.split_once('(')?;
            let of = of.trim_end().strip_suffix(')')?.trim();
            (of.strip_prefix("./").unwrap_or(of) == name).then_some(sum.trim())
        })
    }
}

/// A checksum that is being computed.
enum Sum {
    Sha1(Sha1),
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Sum {
    /// Chooses the kind by its number of digits.
    fn of_length(digits: usize) -> Option<Self> {
        match digits {
            40 => Some(Self::Sha1(Sha1::new())),
            64 => Some(Self::Sha256(Sha256::new())),
            128 => Some(Self::Sha512(Sha512::new())),
            _ => None,
        }
    }

    fn update(&mut self, piece: &[u8]) {
        match self {
            Self::Sha1(sum) => sum.update(piece),
            Self::Sha256(sum) => sum.update(piece),
            Self::Sha512(sum) => sum.update(piece),
        }
    }

    fn hex(self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self {
            Self::Sha1(sum) => hex(&sum.finalize()),
            Self::Sha256(sum) => hex(&sum.finalize()),
            Self::Sha512(sum) => hex(&sum.finalize()),
        }
    }
}

/// Visits the regular files of an archive, without links, until `visit` returns false.
fn walk(
    file: &File,
    subject: &Subject,
    interrupt: &Interrupt,
    visit: &mut dyn FnMut(&str, &mut Entry<Metered>) -> io::Result<bool>,
) -> Result<()> {
    let left = Cell::new(0);
    let mut read = || -> io::Result<Result<()>> {
        let mut start = file;
        start.seek(SeekFrom::Start(0))?;
        let mut archive = Archive::new(Metered { file, left: &left });
        let mut entries = archive.entries_with_seek()?;
        loop {
            if let Err(error) = interrupt.check() {
                return Ok(Err(error));
            }
            left.set(IN_MEMORY);
            let Some(entry) = entries.next() else { return Ok(Ok(())) };
            let mut entry = entry?;
            if is_pax_sparse(&mut entry)? {
                let cause = "is an archive with sparse files in the pax format, which are not supported";
                return Err(io::Error::new(ErrorKind::Unsupported, cause));
            }
            if !matches!(entry.header().entry_type(), EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse)
            {
                continue;
            }
            left.set(u64::MAX);
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            if !visit(name.strip_prefix("./").unwrap_or(&name), &mut entry)? {
                return Ok(Ok(()));
            }
        }
    };
    read().map_err(|error| match error.kind() {
        ErrorKind::Unsupported => subject.refuse(&Trouble::new(error.to_string(), "make the archive without --sparse")),
        _ => subject.damaged(&error),
    })?
}

/// Recognises a sparse file in the form of newer archives: the stored bytes are not the content of the file.
fn is_pax_sparse(entry: &mut Entry<Metered>) -> io::Result<bool> {
    let Some(extensions) = entry.pax_extensions()? else { return Ok(false) };
    Ok(extensions.flatten().any(|extension| extension.key_bytes().starts_with(b"GNU.sparse.")))
}

/// Says whether a member is one of the numbered pieces of a disk, as an OVF description with a chunk size means.
fn is_piece(member: &str, disk: &str) -> bool {
    let number = member.strip_prefix(disk).and_then(|rest| rest.strip_prefix('.'));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
}

/// Reads the files of the disks from an OVF description.
fn disks_of(ovf: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(ovf);
    let mut reader = quick_xml::Reader::from_str(&text);
    let (mut files, mut disks) = (Vec::new(), Vec::new());
    // Anything after invalid XML is ignored.
    while let Ok(event) = reader.read_event() {
        match event {
            Event::Start(element) | Event::Empty(element) => match element.local_name().as_ref() {
                "File" => files.extend(attribute(&element, "id").zip(attribute(&element, "href"))),
                "Disk" => disks.extend(attribute(&element, "fileRef")),
                _ => (),
            },
            Event::Eof => break,
            _ => (),
        }
    }
    let file = |id: &String| files.iter().find(|(file, _)| file == id).map(|(_, href)| href.clone());
    disks.iter().filter_map(file).collect()
}

/// Returns an attribute, regardless of its prefix.
fn attribute(element: &BytesStart, name: &str) -> Option<String> {
    let attribute = element.attributes().flatten().find(|it| it.key.local_name().as_ref() == name)?;
    attribute.normalized_value(XmlVersion::Implicit1_0).ok().map(|value| value.into_owned())
}

#[cfg(test)]
mod tests;
