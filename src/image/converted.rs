//! Unpacked and converted disks, cached by the file that they were made from.

use std::fs::{self, File, Permissions};
use std::io::{self, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::{Because, Result};
use crate::event::Events;
use crate::image::cache::{self, Conversion, ImageCache, Record};
use crate::image::content::format::Format;
use crate::image::content::kind::{self, Compression, Kind, Trouble};
use crate::image::content::{alone, whole};
use crate::image::image::{Reading, Ready};
use crate::image::progress::Progress;
use crate::image::unwrap::budget::Budget;
use crate::image::unwrap::convert;
use crate::image::unwrap::subject::Subject;
use crate::image::unwrap::tar::Tar;
use crate::image::unwrap::unpack::Pouring;
use crate::stop::Interrupt;

/// Raised when unpacking or converting a file gives a different result than before.
const SCHEMA: u32 = 1;
/// How many wrappings to remove: an archive in a compressed archive has about three.
pub const DEEPEST: usize = 4;

/// The file of an image, and how to read it.
pub struct Given<'a> {
    pub label: &'a str,
    pub sha256: &'a str,
    pub reading: &'a Reading,
    pub events: &'a Events,
    pub interrupt: &'a Interrupt,
}

/// What to do with a file.
enum Step {
    /// It is a disk that can be used as it is.
    Use(Format),
    Convert(Format),
    Unpack(Compression),
    Extract,
}

impl Given<'_> {
    /// Returns the disk that was made from this file earlier. Fails if making it now would exceed a limit.
    pub fn lookup(&self, cache: &ImageCache) -> Result<Option<Ready>> {
        let disk = self.place(cache);
        let record = cache::read_record(&disk.with_extension("json")).filter(|_| disk.exists());
        let Some(Conversion { format, from, largest }) = record.and_then(|record| record.converted) else {
            return Ok(None);
        };
        Budget::new(self.label, from, self.reading.max_size, &cache.work()).check_size(largest)?;
        Ok(Some(Ready { disk, format, boot: None, stamp: None }))
    }

    /// Returns the disk in the file at `path`: the file itself, or the disk unpacked from it and converted. `verify`
    /// checks that the file has not changed, before a disk made from it is used.
    pub fn ready(&self, cache: &ImageCache, path: &Path, verify: &dyn Fn() -> Result<()>) -> Result<Ready> {
        let subject = Subject::given(self.label);
        let file = open(path)?;
        let what = match self.step(&file, &subject)? {
            Step::Use(format) => return Ok(Ready { disk: path.to_path_buf(), format, boot: None, stamp: None }),
            Step::Convert(_) => "converting",
            Step::Unpack(_) | Step::Extract => "unpacking",
        };
        if let Some(ready) = self.lookup(cache)? {
            return Ok(ready);
        }
        let _lock = cache.lock(&self.key(), self.label, self.events, self.interrupt)?;
        if let Some(ready) = self.lookup(cache)? {
            return Ok(ready);
        }
        let work = cache.workplace(&self.key())?;
        let mut progress = Progress::start(self.events, self.label, what);
        let size = file.metadata().because(|| cannot_read(path))?.len();
        let budget = Budget::new(self.label, size, self.reading.max_size, work.path());
        let mut unwrapping = Unwrapping { given: self, work: work.path(), budget: &budget, progress: &mut progress };
        let (disk, format) = unwrapping.disk(path.to_path_buf(), subject)?;
        verify()?;
        let ready = self.keep(cache, &disk, Conversion { format, from: size, largest: budget.largest() })?;
        progress.finish();
        Ok(ready)
    }

    /// Returns what to do with a file.
    fn step(&self, file: &File, subject: &Subject) -> Result<Step> {
        let failed = || format!("cannot read the image `{}`", self.label);
        let refuse = |cause: String, hint: &str| Err(subject.refuse(&Trouble::new(cause, hint)));
        let is_empty = file.metadata().because(failed)?.len() == 0;
        let format = match (kind::tell(file).because(failed)?, self.reading.format) {
            (Kind::Packed(compression), _) => return Ok(Step::Unpack(compression)),
            (Kind::Tar, _) => return Ok(Step::Extract),
            (_, Some(Format::Raw)) if !is_empty => Format::Raw,
            (Kind::Other(trouble), _) => return Err(subject.refuse(&trouble)),
            (Kind::Disk(told), Some(said)) if told != said => {
                return refuse(format!("is {}, not {}", told.noun(), said.noun()), "leave the option `format` out");
            }
            (Kind::Unknown, Some(said)) => {
                return refuse(format!("is not {}", said.noun()), "leave the option `format` out for a raw disk");
            }
            (Kind::Disk(told), _) => told,
            (Kind::Unknown, None) => Format::Raw,
        };
        subject.accept(alone::check(file, format))?;
        subject.accept(whole::check(file, format))?;
        Ok(if matches!(format, Format::Raw | Format::Qcow2) { Step::Use(format) } else { Step::Convert(format) })
    }

    /// Moves a finished disk into the cache.
    fn keep(&self, cache: &ImageCache, disk: &Path, converted: Conversion) -> Result<Ready> {
        let failed = || format!("cannot put image `{}` into the cache", self.label);
        let (place, format) = (self.place(cache), converted.format);
        let written = File::open(disk).because(failed)?;
        fs::set_permissions(disk, Permissions::from_mode(0o644)).because(failed)?;
        written.sync_all().because(failed)?;
        let record = Record {
            name: self.label.to_string(),
            digest: format!("blake3:{}", self.key()),
            inputs: self.inputs(),
            created: cache::seconds_now(),
            sizes: Default::default(),
            cmdline: None,
            converted: Some(converted),
        };
        // A disk without its record is ignored.
        fs::rename(disk, &place).because(failed)?;
        let text = serde_json::to_vec_pretty(&record).because(failed)?;
        let draft = disk.with_extension("json");
        fs::write(&draft, text).and_then(|()| fs::rename(&draft, place.with_extension("json"))).because(failed)?;
        Ok(Ready { disk: place, format, boot: None, stamp: None })
    }

    fn inputs(&self) -> Value {
        json!({ "schema": SCHEMA, "sha256": self.sha256, "format": self.reading.format })
    }

    fn key(&self) -> String {
        blake3::hash(crate::image::image::canonical(&self.inputs()).as_bytes()).to_hex().to_string()
    }

    fn place(&self, cache: &ImageCache) -> PathBuf {
        cache.converted().join(self.key())
    }
}

/// A file on its way to becoming a disk.
struct Unwrapping<'a> {
    given: &'a Given<'a>,
    work: &'a Path,
    budget: &'a Budget,
    progress: &'a mut Progress,
}

impl Unwrapping<'_> {
    /// Removes one wrapping after the other, until there is a disk that machines can use.
    fn disk(&mut self, mut path: PathBuf, mut subject: Subject) -> Result<(PathBuf, Format)> {
        for depth in 0..DEEPEST {
            let file = open(&path)?;
            let next = self.work.join(depth.to_string());
            match self.given.step(&file, &subject)? {
                Step::Use(format) => return Ok((path, format)),
                Step::Convert(format) => {
                    let Given { interrupt, .. } = self.given;
                    let disk = convert::convert(&path, format, self.work, &subject, self.budget, interrupt)?;
                    // The other formats have a virtual size as well.
                    subject.accept(whole::check(&open(&disk)?, Format::Qcow2))?;
                    return Ok((disk, Format::Qcow2));
                }
                Step::Unpack(compression) => {
                    self.unpack(&file, compression, &subject, &next)?;
                    subject = subject.unpacked();
                }
                Step::Extract => {
                    let tar = Tar::open(&file, &subject, self.given.interrupt)?;
                    let name = tar.extract(&mut self.pouring(&subject, &mut |_| ()), &next)?;
                    subject = subject.member(&name);
                }
            }
            if path.starts_with(self.work) {
                fs::remove_file(&path).because(|| format!("cannot remove `{}`", path.display()))?;
            }
            path = next;
        }
        match self.given.step(&open(&path)?, &subject)? {
            Step::Use(format) => Ok((path, format)),
            _ => Err(subject.refuse(&Trouble::new("is packed too often", "unpack it, and name the disk image inside"))),
        }
    }

    fn unpack(&mut self, file: &File, compression: Compression, subject: &Subject, to: &Path) -> Result<()> {
        let failed = |error: &io::Error| subject.damaged(error);
        let total = file.metadata().map_err(|error| failed(&error))?.len();
        let reader = compression.reader(file).map_err(|error| failed(&error))?;
        let Self { progress, budget, given, .. } = self;
        let mut at = file;
        let mut seen = |_: &[u8]| {
            if let Ok(done) = at.stream_position() {
                progress.bytes(done, Some(total));
            }
        };
        Pouring { budget, interrupt: given.interrupt, subject, seen: &mut seen }.write(reader, to).map(|_| ())
    }

    fn pouring<'a>(&'a self, subject: &'a Subject, seen: &'a mut dyn FnMut(&[u8])) -> Pouring<'a> {
        Pouring { budget: self.budget, interrupt: self.given.interrupt, subject, seen }
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).because(|| cannot_read(path))
}

fn cannot_read(path: &Path) -> String {
    format!("cannot read the image `{}`", path.display())
}

#[cfg(test)]
mod tests;
