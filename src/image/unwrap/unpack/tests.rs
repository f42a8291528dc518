use std::io::Write;
use std::os::unix::fs::MetadataExt;

use super::*;

/// Packs bytes with a compressor's weakest preset.
pub fn packed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match compression {
        Compression::Gzip => {
            let mut writer = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap();
        }
        Compression::Bzip2 => {
            let mut writer = bzip2::write::BzEncoder::new(&mut out, bzip2::Compression::fast());
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap();
        }
        Compression::Xz => {
            let mut writer = liblzma::write::XzEncoder::new(&mut out, 0);
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap();
        }
        Compression::Zstd => {
            let mut writer = zstd::stream::write::Encoder::new(&mut out, 1).unwrap();
            writer.include_checksum(true).unwrap();
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap();
        }
    }
    out
}

const ALL: [Compression; 4] = [Compression::Gzip, Compression::Xz, Compression::Zstd, Compression::Bzip2];

/// Unpacks bytes as the content of a file, and returns what comes out and the sectors that it takes.
fn unpacked(compression: Compression, bytes: &[u8], max_size: Option<u64>) -> Result<(Vec<u8>, u64)> {
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("out");
    let subject = Subject::given("x");
    let budget = Budget::new("x", bytes.len() as u64, max_size, directory.path());
    let interrupt = Interrupt::default();
    let mut pouring = Pouring { budget: &budget, interrupt: &interrupt, subject: &subject, seen: &mut |_| () };
    let reader = compression.reader(bytes).map_err(|error| subject.damaged(&error))?;
    let size = pouring.write(reader, &to)?;
    let content = std::fs::read(&to).unwrap();
    assert_eq!(size, content.len() as u64);
    Ok((content, to.metadata().unwrap().blocks()))
}

#[test]
fn all_parts_of_a_packed_file_come_out_one_after_the_other() {
    for compression in ALL {
        let both = [packed(compression, b"one"), packed(compression, b"two")].concat();
        assert_eq!(unpacked(compression, &both, None).unwrap().0, b"onetwo", "{compression:?}");
    }
    let skippable = [b"\x50\x2a\x4d\x18\x02\0\0\0xx".to_vec(), packed(Compression::Zstd, b"one")].concat();
    assert_eq!(unpacked(Compression::Zstd, &skippable, None).unwrap().0, b"one");
}

#[test]
fn what_follows_the_last_member_is_no_part_of_the_disk() {
    let zeros = vec![0; 1 << 20];
    for compression in [Compression::Gzip, Compression::Bzip2] {
        let one = packed(compression, b"one");
        let both = [&one[..], &packed(compression, b"two")].concat();
        for trailing in [&b"\0"[..], &zeros, b"garbage", b"\x8b\x1f", b"hB", b"\0\0\x1f\x8b\x08", b"BZx1AY&SY"] {
            let bytes = [&both[..], trailing].concat();
            assert_eq!(unpacked(compression, &bytes, None).unwrap().0, b"onetwo", "{compression:?}, {trailing:?}");
        }
        for size in 1..one.len() {
            let error = unpacked(compression, &[&both[..], &one[..size]].concat(), None).unwrap_err();
            assert_eq!(error.causes, ["it ends too early"], "{compression:?}: the last member is cut off at {size}");
        }
        for between in [&b"\0"[..], b"garbage", &zeros] {
            let error = unpacked(compression, &[&both[..], between, &one].concat(), None).unwrap_err();
            assert_eq!(error.causes, ["there is damaged data between two of its parts"], "{compression:?}");
        }
        let error = unpacked(compression, &zeros, None).unwrap_err();
        assert_ne!(error.causes, ["it ends too early"], "{compression:?}: there is no member");
    }
}

#[test]
fn an_xz_file_is_padded_with_zeros_in_fours() {
    let one = packed(Compression::Xz, b"one");
    let padded = |zeros: usize| unpacked(Compression::Xz, &[&one[..], &vec![0; zeros], &one].concat(), None);
    assert_eq!(padded(4).unwrap().0, b"oneone");
    assert_eq!(padded(512).unwrap().0, b"oneone");
    assert!(padded(3).is_err());
    let trailing =
        |bytes: &[u8]| unpacked(Compression::Xz, &[&one[..], bytes].concat(), None).map(|(content, _)| content);
    assert_eq!(trailing(&vec![0; 1 << 20]).unwrap(), b"one");
    assert_eq!(
        trailing(&[0; 3]).unwrap_err().to_string(),
        "cannot unpack image `x`: lzma data error\nhint: the file is damaged or not complete: get it again"
    );
    assert!(trailing(b"what `xz -d` refuses as well").is_err());
}

#[test]
fn zeros_become_holes() {
    let mut disk = vec![0; 4 << 20];
    disk[1 << 20] = 7;
    for compression in ALL {
        let (content, sectors) = unpacked(compression, &packed(compression, &disk), None).unwrap();
        assert!(content == disk, "{compression:?}");
        assert!(sectors <= 2 * (BLOCK as u64 / 512), "{compression:?}: {sectors} sectors");
    }
}

#[test]
fn what_is_cut_off_or_damaged_is_said_to_be() {
    let noise: Vec<u8> = (0u32..50_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for compression in ALL {
        let packed = packed(compression, &noise);
        for length in [20, packed.len() / 2, packed.len() - 1] {
            let error = unpacked(compression, &packed[..length], None).map(|_| ()).unwrap_err().to_string();
            assert_eq!(
                error,
                "cannot unpack image `x`: it ends too early\n\
                 hint: the file is damaged or not complete: get it again",
                "{compression:?}, {length} bytes"
            );
        }
        let mut damaged = packed.clone();
        let middle = damaged.len() / 2;
        damaged[middle..middle + 64].fill(0x55);
        let error = unpacked(compression, &damaged, None).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("cannot unpack image `x`: "), "{compression:?}: {error}");
    }
}

#[test]
fn a_file_that_unpacks_to_too_much_is_given_up() {
    for compression in ALL {
        let packed = packed(compression, &vec![0; 1 << 20]);
        assert!(unpacked(compression, &packed, Some(1 << 20)).is_ok());
        let error = unpacked(compression, &packed, Some((1 << 20) - 1)).unwrap_err();
        assert!(error.causes[0].starts_with("unpacked, it is larger than its `max_size`"), "{error}");
    }
}

#[test]
fn an_interrupt_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let (subject, interrupt) = (Subject::given("x"), Interrupt::default());
    let budget = Budget::new("x", 1, None, directory.path());
    interrupt.raise();
    let mut pouring = Pouring { budget: &budget, interrupt: &interrupt, subject: &subject, seen: &mut |_| () };
    let error = pouring.write(io::repeat(1), &directory.path().join("out")).unwrap_err();
    assert_eq!(error.kind, crate::error::Kind::Interrupted);
}

#[test]
fn a_window_that_takes_too_much_memory_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(30).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(b"x").unwrap();
    let error = unpacked(Compression::Zstd, &encoder.finish().unwrap(), None).unwrap_err();
    assert_eq!(error.causes, ["unpacking it takes more than 512 MiB of memory"]);
}

#[test]
fn what_is_inside_is_told_without_unpacking_all_of_it() {
    let peeked = |bytes: &[u8]| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        peek(file.as_file(), 3).unwrap()
    };
    let disk = vec![7; 1 << 20];
    let once = packed(Compression::Xz, &disk);
    assert_eq!(peeked(&disk), Kind::Unknown);
    assert_eq!(peeked(&once), Kind::Unknown);
    assert_eq!(peeked(&packed(Compression::Gzip, &once)), Kind::Unknown);
    assert_eq!(
        peeked(&packed(Compression::Gzip, b"QFI\xfb\0\0\0\x03")),
        Kind::Disk(crate::image::content::format::Format::Qcow2)
    );
}
