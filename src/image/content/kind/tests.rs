use super::*;

/// What a file with these bytes at these places is.
fn told(size: usize, parts: &[(usize, &[u8])]) -> Kind {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut bytes = vec![0; size];
    for (at, part) in parts {
        bytes[*at..at + part.len()].copy_from_slice(part);
    }
    std::fs::write(file.path(), bytes).unwrap();
    tell(file.as_file()).unwrap()
}

/// The trouble with a file with this content.
fn trouble(content: &[u8]) -> String {
    match told(content.len(), &[(0, content)]) {
        Kind::Other(trouble) => trouble.cause,
        other => format!("{other:?}"),
    }
}

#[test]
fn disks_are_told_by_their_magic_wherever_it_is() {
    let cases: [(Format, usize, &[u8]); 7] = [
        (Format::Qcow2, 0, b"QFI\xfb\0\0\0\x03"),
        (Format::Qcow2, 0, b"QFI\xfb\0\0\0\x02"),
        (Format::Vdi, 0x40, b"\x7f\x10\xda\xbe"),
        (Format::Vmdk, 0, b"KDMV\x01\0\0\0"),
        (Format::Vhdx, 0, b"vhdxfile"),
        (Format::Vpc, 0, b"conectix"),
        (Format::Qed, 0, b"QED\0"),
    ];
    for (format, at, magic) in cases {
        assert_eq!(told(4096, &[(at, magic)]), Kind::Disk(format));
    }
}

#[test]
fn a_fixed_vhd_is_told_by_the_footer_behind_the_disk_when_its_checksum_is_right() {
    let mut footer = [0; 512];
    footer[..8].copy_from_slice(b"conectix");
    footer[60..64].copy_from_slice(&2u32.to_be_bytes());
    let sum = !footer.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let disk = told(4096, &[(510, b"\x55\xaa"), (3584, &footer)]);
    assert_eq!(disk, Kind::Disk(Format::Raw), "a raw disk may end in anything");
    footer[64..68].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(told(4096, &[(510, b"\x55\xaa"), (3584, &footer)]), Kind::Disk(Format::Vpc));
    assert_eq!(told(4095, &[(510, b"\x55\xaa"), (3584, &footer[..511])]), Kind::Disk(Format::Vpc));
}

#[test]
fn raw_disks_are_told_by_their_partitions_and_file_systems_and_by_being_blank() {
    for (at, magic) in DISKS {
        assert_eq!(told(HEAD, &[(at, magic)]), Kind::Disk(Format::Raw), "{magic:?}");
    }
    assert_eq!(told(512, &[]), Kind::Disk(Format::Raw));
    assert_eq!(told(2 << 20, &[(1 << 20, b"x")]), Kind::Disk(Format::Raw));
    assert_eq!(told(64 << 10, &[(0, &[7; 64 << 10])]), Kind::Unknown);
}

#[test]
fn compression_and_archives_are_told_by_content() {
    let cases: [(&[u8], Kind); 7] = [
        (b"\x1f\x8b\x08\0", Kind::Packed(Compression::Gzip)),
        (b"\xfd7zXZ\0\0\x04", Kind::Packed(Compression::Xz)),
        (b"\x28\xb5\x2f\xfd\x04", Kind::Packed(Compression::Zstd)),
        (b"\x50\x2a\x4d\x18\x04", Kind::Packed(Compression::Zstd)),
        (b"\x5f\x2a\x4d\x18\x04", Kind::Packed(Compression::Zstd)),
        (b"BZh91AY&SY", Kind::Packed(Compression::Bzip2)),
        (b"BZh9\x17\x72\x45\x38\x50\x90", Kind::Packed(Compression::Bzip2)),
    ];
    for (head, kind) in cases {
        assert_eq!(told(head.len(), &[(0, head)]), kind, "{head:?}");
    }
    let mut header = tar::Header::new_old();
    header.set_path("disk.raw").unwrap();
    header.set_size(0);
    header.set_cksum();
    assert_eq!(told(1536, &[(0, header.as_bytes())]), Kind::Tar);
    assert_eq!(told(1536, &[(0, header.as_bytes()), (0, b"x")]), Kind::Unknown, "the checksum is wrong");
}

#[test]
fn what_is_no_disk_is_named() {
    for (at, magic, what, _) in OTHERS {
        let Kind::Other(trouble) = told(HEAD, &[(at, magic)]) else { panic!("{what}") };
        assert_eq!(trouble.cause, what);
    }
    assert_eq!(trouble(b""), "is empty");
    assert_eq!(trouble(b"\xff\0"), "is shorter than one sector of a disk");
    assert_eq!(trouble(&[7; 1000]), "is not a known disk image, and its size is not a whole number of sectors");
    assert_eq!(trouble(b"hello\n"), "is a text file");
    assert_eq!(trouble(&b"na\xc3\xafve ".repeat(1000)), "is a text file");
    assert_eq!(trouble(b"\xef\xbb\xbf<!DOCTYPE HTML><html>"), "is a web page (HTML)");
    assert_eq!(trouble(b"\n<html lang=en>"), "is a web page (HTML)");
    assert_eq!(trouble(b"<?xml version='1.0'?><domain/>"), "is an XML document");
    assert!(trouble(b"<?xml version='1.0'?>\n<Envelope xmlns='x'>").starts_with("is an OVF description"));
    assert!(
        trouble(b"# Disk DescriptorFile\nversion=1\ncreateType=\"twoGbMaxExtentFlat\"\n")
            .starts_with("is a VMDK descriptor")
    );
    let padded: [(usize, &[u8]); 1] = [(0, b"# Disk DescriptorFile\nversion=1\ncreateType=\"monolithicFlat\"\n")];
    assert!(matches!(told(512, &padded), Kind::Other(trouble) if trouble.cause.starts_with("is a VMDK descriptor")));
    assert_eq!(told(512, &[(0, b"a disk may begin with text")]), Kind::Unknown);
    assert_eq!(trouble(b"version https://git-lfs.github.com/spec/v1\n"), "is a Git LFS pointer");
    let program: [(usize, &[u8]); 3] = [(0, b"MZ"), (0x3c, &[0x80]), (0x80, b"PE\0\0")];
    let Kind::Other(trouble) = told(1024, &program) else { panic!("a program is a disk") };
    assert_eq!(trouble.cause, "is a program for Windows or EFI");
    let tail: [(usize, &[u8]); 1] = [(3584, b"koly")];
    let Kind::Other(trouble) = told(4096, &tail) else { panic!("a DMG is a disk") };
    assert_eq!(trouble.cause, "is an Apple disk image (DMG)");
}

#[test]
fn an_installer_with_a_partition_table_is_a_cd_all_the_same() {
    let parts: [(usize, &[u8]); 2] = [(510, b"\x55\xaa"), (0x8001, b"CD001")];
    assert!(matches!(told(HEAD, &parts), Kind::Other(trouble) if trouble.cause.contains("ISO 9660")));
}
