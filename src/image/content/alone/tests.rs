use std::fs;

use super::*;

fn checked(format: Format, bytes: &[u8]) -> Option<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    check(file.as_file(), format).unwrap().map(|trouble| trouble.cause)
}

fn with(size: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; size];
    for (at, part) in parts {
        bytes[*at..at + part.len()].copy_from_slice(part);
    }
    bytes
}

#[test]
fn a_qcow2_image_may_need_no_other_file_and_no_key() {
    let qcow2 = |parts: &[(usize, &[u8])]| {
        let head: [(usize, &[u8]); 1] = [(0, b"QFI\xfb\0\0\0\x03")];
        checked(Format::Qcow2, &with(512, &[&head, parts].concat()))
    };
    assert_eq!(qcow2(&[]), None);
    assert_eq!(
        qcow2(&[(8, &112u64.to_be_bytes()), (16, &2u32.to_be_bytes()), (112, b"/y")]).unwrap(),
        "depends on the backing file `/y`"
    );
    assert_eq!(qcow2(&[(72, &4u64.to_be_bytes())]).unwrap(), "keeps its data in another file");
    assert_eq!(qcow2(&[(32, &2u32.to_be_bytes())]).unwrap(), "is encrypted");
    assert_eq!(qcow2(&[(4, &9u32.to_be_bytes())]).unwrap(), "is a qcow2 image of version 9");
    assert_eq!(checked(Format::Qcow2, b"QFI\xfb\0\0").unwrap(), "is cut off in its header");
}

#[test]
fn a_backing_file_whose_name_is_said_to_be_endless_is_damage() {
    let lying = with(112, &[(0, b"QFI\xfb\0\0\0\x03"), (8, &100u64.to_be_bytes()), (16, &u32::MAX.to_be_bytes())]);
    assert!(checked(Format::Qcow2, &lying).unwrap().starts_with("depends on the backing file"));
    let far = with(112, &[(0, b"QFI\xfb\0\0\0\x03"), (8, &u64::MAX.to_be_bytes()), (16, &9u32.to_be_bytes())]);
    assert!(checked(Format::Qcow2, &far).is_some());
}

#[test]
fn a_qed_image_may_have_no_backing_file() {
    let qed = |features: u64| {
        let parts: [(usize, &[u8]); 5] = [
            (0, b"QED\0"),
            (16, &features.to_le_bytes()),
            (56, &100u32.to_le_bytes()),
            (60, &2u32.to_le_bytes()),
            (100, b"/y"),
        ];
        checked(Format::Qed, &with(512, &parts))
    };
    assert_eq!(qed(0), None);
    assert_eq!(qed(1).unwrap(), "depends on the backing file `/y`");
}

#[test]
fn a_vdi_image_may_have_no_parent() {
    let vdi = |parts: &[(usize, &[u8])]| checked(Format::Vdi, &with(512, parts));
    assert_eq!(vdi(&[(0x4c, &1u32.to_le_bytes())]), None);
    let differing = "is a differencing VDI image, which depends on a parent";
    assert_eq!(vdi(&[(0x4c, &4u32.to_le_bytes())]).unwrap(), differing);
    assert_eq!(vdi(&[(0x4c, &1u32.to_le_bytes()), (0x1b8, b"x")]).unwrap(), differing);
}

#[test]
fn a_vmdk_image_may_name_no_other_file() {
    let vmdk = |capacity: u64, at: u64, descriptor: &str| {
        let parts: [(usize, &[u8]); 4] = [
            (0, b"KDMV"),
            (12, &capacity.to_le_bytes()),
            (28, &at.to_le_bytes()),
            (at as usize * 512, descriptor.as_bytes()),
        ];
        checked(Format::Vmdk, &with(8192, &parts))
    };
    assert_eq!(vmdk(2048, 1, "parentCID=ffffffff\nRW 2048 SPARSE \"disk.vmdk\"\n"), None);
    assert_eq!(vmdk(0, 1, "RW 2048 FLAT \"/etc/shadow\" 0\n").unwrap(), "only names the files that hold the disk");
    for at in [1, 5] {
        let named = vmdk(2048, at, "parentCID=1\nparentFileNameHint=\"/etc/shadow\"\n");
        assert_eq!(named.unwrap(), "depends on the backing file `/etc/shadow`", "{at}");
    }
}

#[test]
fn a_vhd_image_may_have_no_parent_by_its_footer_and_by_the_copy_in_front() {
    let footer = |kind: u32| with(512, &[(0, b"conectix"), (60, &kind.to_be_bytes())]);
    assert_eq!(checked(Format::Vpc, &[vec![0; 1024], footer(2)].concat()), None);
    let differing = "is a differencing VHD image, which depends on a parent";
    assert_eq!(checked(Format::Vpc, &[footer(4), vec![0; 1024]].concat()).unwrap(), differing);
    assert_eq!(checked(Format::Vpc, &[vec![0; 1024], footer(4)].concat()).unwrap(), differing);
    assert_eq!(checked(Format::Vpc, &[&vec![0; 1024][..], &footer(4)[..511]].concat()).unwrap(), differing);
}

#[test]
fn a_vhdx_image_may_have_no_parent() {
    let vhdx = |flags: u32| {
        let parts: [(usize, &[u8]); 6] = [
            (0, b"vhdxfile"),
            ((192 << 10) + 16, b"\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e"),
            ((192 << 10) + 32, &(300u64 << 10).to_le_bytes()),
            ((300 << 10) + 32, b"\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b"),
            ((300 << 10) + 48, &(64u32 << 10).to_le_bytes()),
            ((364 << 10) + 4, &flags.to_le_bytes()),
        ];
        checked(Format::Vhdx, &with(400 << 10, &parts))
    };
    assert_eq!(vhdx(0), None);
    assert_eq!(vhdx(2).unwrap(), "is a differencing VHDX image, which depends on a parent");
    assert_eq!(checked(Format::Vhdx, b"vhdxfile").unwrap(), "is cut off in its header");
}
