use std::fs;

use super::*;

const LACKS: &str = "is cut off: a part of the disk is missing";

/// The trouble with an image of these bytes, cut off at `size` if that is less.
fn checked(format: Format, size: usize, parts: &[(usize, &[u8])]) -> Option<String> {
    let mut bytes = vec![0; 1 << 20];
    for (at, part) in parts {
        bytes[*at..at + part.len()].copy_from_slice(part);
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &bytes[..size]).unwrap();
    check(file.as_file(), format).unwrap().map(|trouble| trouble.cause)
}

#[test]
fn every_cluster_that_a_qcow2_image_names_is_in_the_file() {
    let qcow2 = |size: usize, features: u64, entry: u64| {
        let parts: [(usize, &[u8]); 9] = [
            (0, b"QFI\xfb\0\0\0\x03"),
            (24, &(1u64 << 20).to_be_bytes()),
            (20, &12u32.to_be_bytes()),
            (36, &2u32.to_be_bytes()),
            (40, &4096u64.to_be_bytes()),
            (72, &features.to_be_bytes()),
            (4096, &(8192u64 | 1 << 63).to_be_bytes()),
            (8192, &entry.to_be_bytes()),
            (8200, &u64::MAX.to_be_bytes()[..if features == 16 { 8 } else { 0 }]),
        ];
        checked(Format::Qcow2, size, &parts)
    };
    let data = 16384 | 1 << 63;
    assert_eq!(qcow2(20480, 0, data), None);
    assert_eq!(qcow2(16385, 0, data), None, "the last cluster may be shorter");
    assert_eq!(qcow2(16384, 0, data).unwrap(), LACKS);
    assert_eq!(qcow2(20480, 16, data), None, "subclusters are no places");
    assert_eq!(qcow2(8192, 0, 0).unwrap(), LACKS, "a table is missing");
    assert_eq!(qcow2(4096, 0, 0).unwrap(), LACKS, "the first table is missing");
    let compressed = 12300 | 1 << 62;
    assert_eq!(qcow2(12301, 0, compressed), None);
    assert_eq!(qcow2(12300, 0, compressed).unwrap(), LACKS);
}

#[test]
fn a_qcow2_image_has_a_size() {
    let sized = |size: u64| checked(Format::Qcow2, 512, &[(20, &16u32.to_be_bytes()), (24, &size.to_be_bytes())]);
    assert_eq!(sized(0).unwrap(), "has a virtual size of 0");
    assert_eq!(sized(512), None);
}

#[test]
fn every_grain_that_a_vmdk_image_names_is_in_the_file() {
    let vmdk = |size: usize, directory: u64| {
        let parts: [(usize, &[u8]); 7] = [
            (12, &2048u64.to_le_bytes()),
            (20, &128u64.to_le_bytes()),
            (44, &512u32.to_le_bytes()),
            (56, &directory.to_le_bytes()),
            (512, &2u32.to_le_bytes()),
            (1024, &128u32.to_le_bytes()),
            (1028, &1u32.to_le_bytes()),
        ];
        checked(Format::Vmdk, size, &parts)
    };
    assert_eq!(vmdk(65537, 1), None);
    assert_eq!(vmdk(65536, 1).unwrap(), LACKS);
    assert_eq!(vmdk(512, 1).unwrap(), LACKS);
    assert_eq!(vmdk(512, u64::MAX), None, "QEMU looks for the footer");
}

#[test]
fn a_vdi_image_has_the_blocks_that_it_counts() {
    let vdi = |size: usize| {
        let parts: [(usize, &[u8]); 3] =
            [(0x158, &4096u32.to_le_bytes()), (0x178, &65536u32.to_le_bytes()), (0x184, &2u32.to_le_bytes())];
        checked(Format::Vdi, size, &parts)
    };
    assert_eq!(vdi(4096 + 131072), None);
    assert_eq!(vdi(4096 + 131071).unwrap(), LACKS);
}

#[test]
fn a_vhd_image_has_its_footer() {
    let mut footer = [0; 512];
    footer[..8].copy_from_slice(b"conectix");
    let sum = !footer.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    footer[64..68].copy_from_slice(&sum.to_be_bytes());
    let parts: [(usize, &[u8]); 2] = [(0, &footer), (65536, &footer)];
    assert_eq!(checked(Format::Vpc, 66048, &parts), None);
    assert_eq!(checked(Format::Vpc, 65536, &parts).unwrap(), LACKS);
}
