use super::*;
use crate::image::unwrap::budget::Budget;

/// An archive of these files.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Takes the disk out of an archive: its name and its content.
fn extracted(archive: &[u8]) -> std::result::Result<(String, Vec<u8>), String> {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("x.ova"), directory.path().join("disk"));
    std::fs::write(&from, archive).unwrap();
    let file = File::open(&from).unwrap();
    let (subject, interrupt) = (Subject::given("x.ova"), Interrupt::default());
    let budget = Budget::new("x.ova", archive.len() as u64, None, directory.path());
    let mut pouring = Pouring { budget: &budget, interrupt: &interrupt, subject: &subject, seen: &mut |_| () };
    let name = Tar::open(&file, &subject, &interrupt).and_then(|tar| tar.extract(&mut pouring, &to));
    let name = name.map_err(|error| error.to_string())?;
    Ok((name, std::fs::read(to).unwrap()))
}

fn name_of(members: &[(&str, &[u8])]) -> std::result::Result<String, String> {
    extracted(&archive(members)).map(|(name, _)| name)
}

const QCOW2: &[u8] = b"QFI\xfb\0\0\0\x03";
const OVF: &[u8] = br#"<?xml version="1.0"?>
<ovf:Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
  <ovf:References><ovf:File ovf:id="f1" ovf:href="./disk&amp;1.vmdk"/><ovf:File ovf:id="f2" ovf:href="tools.iso"/></ovf:References>
  <ovf:DiskSection><ovf:Disk ovf:diskId="d1" ovf:fileRef="f1"/><ovf:Disk ovf:diskId="blank" ovf:capacity="9"/></ovf:DiskSection>
</ovf:Envelope>"#;

#[test]
fn the_disk_is_the_one_that_the_description_names() {
    let members: [(&str, &[u8]); 3] = [("x.ovf", OVF), ("other.qcow2", QCOW2), ("disk&1.vmdk", b"KDMV")];
    assert_eq!(extracted(&archive(&members)), Ok(("disk&1.vmdk".to_string(), b"KDMV".to_vec())));
    assert_eq!(
        name_of(&members[..2]).unwrap_err(),
        "cannot use image `x.ova`: it is an archive whose description names the disk `disk&1.vmdk`, which is not in it\n\
         hint: get it again: the archive is not complete"
    );
}

#[test]
fn a_disk_in_pieces_is_refused_as_one() {
    let members: [(&str, &[u8]); 3] =
        [("x.ovf", OVF), ("disk&1.vmdk.000000000", b"KDMV"), ("disk&1.vmdk.000000001", b"more")];
    assert_eq!(
        name_of(&members).unwrap_err(),
        "cannot use image `x.ova`: it is an archive whose disk `disk&1.vmdk` is in pieces, which is not supported\n\
         hint: unpack it, join the pieces in the order of their names with `cat`, and use the disk that this makes"
    );
}

#[test]
fn a_description_refers_to_its_disk_by_a_uri() {
    let named = |href: &str, names: &[&str]| {
        let ovf = String::from_utf8_lossy(OVF).replace("./disk&amp;1.vmdk", href);
        let disks = names.iter().map(|name| (*name, &b"KDMV"[..]));
        name_of(&[("x.ovf", ovf.as_bytes())].into_iter().chain(disks).collect::<Vec<_>>())
    };
    assert_eq!(named("my%20disk.vmdk", &["my disk.vmdk"]).unwrap(), "my disk.vmdk");
    assert_eq!(named("./Gr%C3%B6%c3%9Fe%25.vmdk", &["./Gr\u{f6}\u{df}e%.vmdk"]).unwrap(), "Gr\u{f6}\u{df}e%.vmdk");
    assert_eq!(named("my disk.vmdk", &["my disk.vmdk"]).unwrap(), "my disk.vmdk");
    assert_eq!(named("100%.vmdk", &["100%.vmdk"]).unwrap(), "100%.vmdk");
    assert_eq!(named("my%20disk.vmdk", &["my disk.vmdk", "my%20disk.vmdk"]).unwrap(), "my%20disk.vmdk");
    assert_eq!(
        named("my%20disk.vmdk", &["other.vmdk"]).unwrap_err(),
        "cannot use image `x.ova`: it is an archive whose description names the disk `my disk.vmdk`, which is not in it\n\
         hint: get it again: the archive is not complete"
    );
}

#[test]
fn without_a_description_the_disk_is_the_only_one() {
    let readme: (&str, &[u8]) = ("README", b"hello");
    let packed: (&str, &[u8]) = ("initrd.gz", b"\x1f\x8b\x08\0");
    assert_eq!(name_of(&[readme, packed, ("./dir/disk.img", QCOW2)]).unwrap(), "dir/disk.img");
    assert_eq!(name_of(&[readme, packed]).unwrap(), "initrd.gz");
    assert_eq!(name_of(&[readme, ("disk.raw", &[7; 512])]).unwrap(), "disk.raw");
    assert_eq!(
        name_of(&[("b", QCOW2), readme, ("a", QCOW2)]).unwrap_err(),
        "cannot use image `x.ova`: it is an archive with 2 disks: `a`, `b`\n\
         hint: unpack it, and name the disk that the machine is to start from"
    );
    assert_eq!(
        name_of(&[readme, ("bin/sh", b"\x7fELF")]).unwrap_err(),
        "cannot use image `x.ova`: it is an archive without a disk image in it\n\
         hint: an archive of a system's files is no disk: make a disk of them first"
    );
}

#[test]
fn a_checksum_in_the_manifest_is_compared() {
    let sum = |hash: &str, sum: &str| {
        let manifest = format!("SHA1(other)= 00\r\n{hash}(disk.img)= {sum}\r\n");
        name_of(&[("disk.img", QCOW2), ("x.mf", manifest.as_bytes())])
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    assert!(sum("SHA256", &hex(&Sha256::digest(QCOW2))).is_ok());
    assert!(sum("SHA1", &hex(&Sha1::digest(QCOW2))).is_ok());
    assert!(sum("SHA512", &hex(&Sha512::digest(QCOW2))).is_ok());
    assert_eq!(
        sum("MD5", &"0".repeat(32)).unwrap_err(),
        "cannot use image `x.ova`: `disk.img` in it has a checksum of an unknown kind in the archive's manifest\n\
         hint: check the archive, then unpack it and name the disk image inside"
    );
    let dotted = format!("SHA256(./disk.img)= {}\n", "0".repeat(64));
    assert!(name_of(&[("disk.img", QCOW2), ("x.mf", dotted.as_bytes())]).is_err());
    for (hash, length) in [("SHA1", 40), ("SHA256", 64), ("SHA512", 128)] {
        assert_eq!(
            sum(hash, &"0".repeat(length)).unwrap_err(),
            "cannot use image `x.ova`: `disk.img` in it has another checksum than the archive's manifest says\n\
             hint: the file is damaged: get it again"
        );
    }
}

#[test]
fn links_are_never_followed() {
    let mut builder = tar::Builder::new(Vec::new());
    for kind in [EntryType::Symlink, EntryType::Link] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        builder.append_link(&mut header, "disk.qcow2", "/etc/shadow").unwrap();
    }
    let error = extracted(&builder.into_inner().unwrap()).unwrap_err();
    assert!(error.contains("without a disk image"), "{error}");
}

#[test]
fn a_disk_that_is_cut_off_is_damage() {
    let whole = archive(&[("disk.raw", &[0; 4096])]);
    for length in [600, 2048] {
        assert_eq!(
            extracted(&whole[..length]).unwrap_err(),
            "cannot unpack image `x.ova`: it ends too early\n\
             hint: the file is damaged or not complete: get it again"
        );
    }
}

#[test]
fn a_name_without_an_end_takes_no_memory() {
    let mut header = tar::Header::new_gnu();
    header.set_path("././@LongLink").unwrap();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(8 << 20, b'x');
    let error = extracted(&bytes).unwrap_err();
    assert!(error.contains("the names in the archive are too long"), "{error}");
}

#[test]
fn holes_in_an_archived_disk_come_out_as_zeros() {
    // What `tar -S` writes: the map of what is there, in the header, and then only that.
    let mut header = tar::Header::new_gnu();
    header.set_path("disk.raw").unwrap();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(512);
    {
        let gnu = header.as_gnu_mut().unwrap();
        gnu.sparse[0].offset.copy_from_slice(b"00000010000\0");
        gnu.sparse[0].numbytes.copy_from_slice(b"00000001000\0");
        gnu.sparse[1].offset.copy_from_slice(b"00000020000\0");
        gnu.sparse[1].numbytes.copy_from_slice(b"00000000000\0");
        gnu.realsize.copy_from_slice(b"00000020000\0");
    }
    header.set_cksum();
    let bytes = [header.as_bytes().as_slice(), &[7; 512], &[0; 1024]].concat();
    let (_, disk) = extracted(&bytes).unwrap();
    assert_eq!((disk.len(), &disk[4096..4608]), (8192, &[7; 512][..]));
    assert!(disk[..4096].iter().chain(&disk[4608..]).all(|byte| *byte == 0));
}
