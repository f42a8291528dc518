use parking_lot::Mutex;
use std::sync::Arc;

use super::*;
use crate::event::Event;
use crate::image::cache::CachedKind;
use crate::image::image::Image;
use crate::image::unwrap::unpack::tests::packed;

/// A cache, and a directory for the files of strangers.
struct Fixture {
    directory: tempfile::TempDir,
    cache: ImageCache,
    events: Arc<Mutex<Vec<String>>>,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cache = ImageCache::open(&directory.path().join("cache"));
        Self { directory, cache, events: Arc::default() }
    }

    fn file(&self, content: &[u8]) -> PathBuf {
        let path = self.directory.path().join("x");
        fs::write(&path, content).unwrap();
        path
    }

    fn image(&self, content: &[u8], format: Option<Format>) -> Image {
        let reading = Reading { format, max_size: None };
        Image::file(&self.cache, &self.file(content), None, reading, &Interrupt::default()).unwrap()
    }

    fn ready(&self, content: &[u8], format: Option<Format>) -> Result<Ready> {
        let events = self.events.clone();
        let events = Events::new(move |event| {
            events.lock().push(match event {
                Event::ImageStarted { image, what } => format!("{what} {image}"),
                Event::ImageFinished { .. } => "finished".into(),
                Event::ImageFailed { .. } => "failed".into(),
                Event::ImageProgress { .. } => return,
                other => format!("{other:?}"),
            })
        });
        self.image(content, format).ready(&self.cache, &events, &Interrupt::default())
    }

    #[track_caller]
    fn refused(&self, content: &[u8], format: Option<Format>) -> String {
        let error = self.ready(content, format).unwrap_err().to_string();
        for directory in [self.cache.converted(), self.cache.work()] {
            assert_eq!(fs::read_dir(directory).unwrap().count(), 0, "nothing is left");
        }
        error
    }
}

const QCOW2: &[u8] = b"QFI\xfb\0\0\0\x03";

fn qcow2() -> Vec<u8> {
    let mut qcow2 = vec![0; 512];
    qcow2[..QCOW2.len()].copy_from_slice(QCOW2);
    qcow2[24..32].copy_from_slice(&512u64.to_be_bytes());
    qcow2
}

#[test]
fn what_needs_no_unpacking_is_used_where_it_lies() {
    let fixture = Fixture::new();
    let file = fixture.directory.path().canonicalize().unwrap().join("x");
    let used = |content: &[u8], said, format| {
        let ready = fixture.ready(content, said).unwrap();
        assert_eq!((&ready.disk, ready.format), (&file, format));
        ready.check_unchanged().unwrap();
        std::fs::write(&file, [content, b"more"].concat()).unwrap();
        assert_eq!(
            ready.check_unchanged().unwrap_err().message,
            format!("image `{}` changed while it was read", file.display())
        );
    };
    used(&qcow2(), None, Format::Qcow2);
    used(&qcow2(), Some(Format::Qcow2), Format::Qcow2);
    used(&qcow2(), Some(Format::Raw), Format::Raw);
    used(&[0; 512], None, Format::Raw);
    used(b"text", Some(Format::Raw), Format::Raw);
    assert!(fixture.events.lock().is_empty());
}

#[test]
fn what_is_packed_is_unpacked_once_and_kept_until_it_is_removed() {
    let fixture = Fixture::new();
    let twice = packed(Compression::Gzip, &packed(Compression::Xz, &qcow2()));
    for _ in 0..2 {
        let ready = fixture.ready(&twice, None).unwrap();
        assert_eq!((fs::read(&ready.disk).unwrap(), ready.format), (qcow2(), Format::Qcow2));
    }
    assert_eq!(*fixture.events.lock(), ["unpacking x", "finished"]);
    let listed = fixture.cache.list().unwrap();
    assert_eq!(
        listed.iter().map(|image| (image.name.as_str(), image.kind)).collect::<Vec<_>>(),
        [("x", CachedKind::Converted)]
    );
    fixture.cache.remove(&fixture.cache.find("x").unwrap()).unwrap();
    assert_eq!(fs::read_dir(fixture.cache.converted()).unwrap().count(), 0);
    fixture.ready(&twice, None).unwrap();
    assert_eq!(fixture.events.lock().len(), 4);
}

#[test]
fn the_limit_holds_for_a_disk_that_is_there_already() {
    let fixture = Fixture::new();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1024);
    tar.append_data(&mut header, "disk.raw", &[7; 1024][..]).unwrap();
    // What counts is the largest that comes out on the way: the archive.
    let tar = tar.into_inner().unwrap();
    let largest = tar.len() as u64;
    let file = fixture.file(&packed(Compression::Gzip, &tar));
    let ready = |max_size| {
        let image = Image::file(&fixture.cache, &file, None, Reading { format: None, max_size }, &Interrupt::default());
        image.unwrap().ready(&fixture.cache, &Events::none(), &Interrupt::default())
    };
    let cold = ready(Some(largest - 1)).unwrap_err().to_string();
    assert_eq!(
        cold,
        "cannot use image `x`: unpacked, it is larger than its `max_size` of 2.5 KiB\nhint: raise `max_size`"
    );
    let kept = ready(Some(largest)).unwrap();
    assert_eq!(ready(Some(largest - 1)).unwrap_err().to_string(), cold);
    assert_eq!(ready(None).unwrap(), kept);
    // Without an option as well.
    let record = kept.disk.with_extension("json");
    let text = fs::read_to_string(&record).unwrap();
    let larger = text.replace(&format!("\"largest\": {largest}"), "\"largest\": 1073741825");
    assert_ne!(larger, text);
    fs::write(&record, larger).unwrap();
    assert_eq!(
        ready(None).unwrap_err().to_string(),
        "cannot use image `x`: unpacked, it is larger than 1.0 GiB, the limit for a file of its size\n\
         hint: if you trust it, say how large it may get, such as max_size = \"100GiB\""
    );
}

#[test]
fn a_disk_in_an_archive_that_is_packed_is_found() {
    let fixture = Fixture::new();
    let mut builder = tar::Builder::new(Vec::new());
    let disk = packed(Compression::Zstd, &[7; 1024]);
    let mut header = tar::Header::new_gnu();
    header.set_size(disk.len() as u64);
    builder.append_data(&mut header, "disk.raw.zst", &disk[..]).unwrap();
    let tar = packed(Compression::Bzip2, &builder.into_inner().unwrap());
    let ready = fixture.ready(&tar, None).unwrap();
    assert_eq!((fs::read(&ready.disk).unwrap(), ready.format), (vec![7; 1024], Format::Raw));
}

#[test]
fn the_format_that_is_said_has_to_be_the_one_that_is_told() {
    let fixture = Fixture::new();
    assert_eq!(
        fixture.refused(&qcow2(), Some(Format::Vdi)),
        "cannot use image `x`: it is a qcow2 image, not a VDI image\nhint: leave the option `format` out"
    );
    assert_eq!(
        fixture.refused(&[7; 512], Some(Format::Vpc)),
        "cannot use image `x`: it is not a VHD image\nhint: leave the option `format` out for a raw disk"
    );
    assert_eq!(
        fixture.refused(&packed(Compression::Gzip, &qcow2()), Some(Format::Vmdk)),
        "cannot use image `x`: unpacked, it is a qcow2 image, not a VMDK image\nhint: leave the option `format` out"
    );
}

#[test]
fn what_is_inside_is_refused_by_name_and_leaves_nothing() {
    let fixture = Fixture::new();
    assert_eq!(
        fixture.refused(&packed(Compression::Xz, b"PK\x03\x04"), None),
        "cannot use image `x`: unpacked, it is a ZIP archive\nhint: unpack it, and name the disk image inside"
    );
    assert_eq!(
        fixture.refused(&packed(Compression::Gzip, b""), None),
        "cannot use image `x`: unpacked, it is empty\nhint: get it again: the download may have failed"
    );
    let mut blank = qcow2();
    blank[24..32].fill(0);
    assert_eq!(
        fixture.refused(&blank, None),
        "cannot use image `x`: it has a virtual size of 0\nhint: get it again, or name another image"
    );
    let mut backed = qcow2();
    backed[8..16].copy_from_slice(&104u64.to_be_bytes());
    backed[16..20].copy_from_slice(&4u32.to_be_bytes());
    backed[104..108].copy_from_slice(b"/etc");
    assert!(
        fixture.refused(&packed(Compression::Zstd, &backed), None).starts_with(
            "cannot use image `x`: unpacked, it depends on the backing file `/etc`\nhint: flatten it first"
        )
    );
    let cut = packed(Compression::Gzip, &qcow2());
    assert!(fixture.refused(&cut[..cut.len() - 1], None).starts_with("cannot unpack image `x`: it ends too early"));
    let often = (0..5).fold(qcow2(), |inner, _| packed(Compression::Gzip, &inner));
    assert!(fixture.refused(&often, None).starts_with("cannot use image `x`: unpacked, it is packed too often"));
    assert_eq!(fixture.refused(b"", Some(Format::Raw)).lines().next().unwrap(), "cannot use image `x`: it is empty");
}

#[test]
fn a_key_changes_with_the_format_only_where_the_content_tells_another() {
    let fixture = Fixture::new();
    let same =
        |content: &[u8], format| fixture.image(content, None).digest == fixture.image(content, Some(format)).digest;
    assert!(same(&qcow2(), Format::Qcow2));
    assert!(same(&[7; 512], Format::Raw));
    assert!(same(&packed(Compression::Xz, &[7; 512]), Format::Raw));
    assert!(!same(&qcow2(), Format::Raw));
    assert!(!same(&packed(Compression::Xz, &qcow2()), Format::Raw));
    let file = fixture.image(&qcow2(), None).digest;
    assert_eq!(fixture.image(&qcow2(), Some(Format::Raw)).digest, format!("{file}+raw"));
}

#[test]
fn a_file_that_changes_while_it_is_read_is_not_kept() {
    let fixture = Fixture::new();
    let image = fixture.image(&packed(Compression::Gzip, &qcow2()), None);
    fixture.file(&packed(Compression::Gzip, &[0; 512]));
    let error = image.ready(&fixture.cache, &Events::none(), &Interrupt::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("changed while it was read\nhint: run it again when nothing writes to the file any more")
    );
    assert!(fixture.cache.list().unwrap().is_empty());
}

#[test]
fn a_converted_download_is_found_without_the_download() {
    let fixture = Fixture::new();
    let packed = packed(Compression::Xz, &qcow2());
    let sum: String = {
        use sha2::Digest;
        sha2::Sha256::digest(&packed).iter().map(|byte| format!("{byte:02x}")).collect()
    };
    fixture.cache.make_room().unwrap();
    let download = fixture.cache.downloads().join(&sum);
    fs::write(&download, &packed).unwrap();
    let image = |format| Image::url("http://127.0.0.1:1/x.xz", &sum, Reading { format, max_size: None }).unwrap();
    let ready = |format| image(format).ready(&fixture.cache, &Events::none(), &Interrupt::default());
    let first = ready(None).unwrap();
    assert_eq!(fs::read(&first.disk).unwrap(), qcow2());
    fs::remove_file(download).unwrap();
    assert_eq!(ready(None).unwrap(), first);
    assert!(ready(Some(Format::Raw)).is_err(), "that is another disk, and nothing answers");
    assert_eq!(image(Some(Format::Qcow2)).digest, image(None).digest);
    assert_eq!(image(Some(Format::Raw)).digest, format!("{}+raw", image(None).digest));
}
