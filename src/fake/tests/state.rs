use std::path::Path;
use std::sync::Arc;

use super::{shell, soon};
use crate::fake::connect;
use crate::hypervisor::{DiskFile, DomainState, Hypervisor, Image, Memory, SnapshotKind, Source, Start, Version};

/// A foreign domain as a test may write it by hand.
pub(super) const FOREIGN: &str = r#"{
    "version": "10.0.0",
    "now": 1700000000,
    "domains": {
        "web": {
            "state": "running",
            "ram": {"/run/pid": "7\n"},
            "document": {
                "memory": 1073741824,
                "cpus": 2,
                "disks": {
                    "sda": {"device": "cdrom", "file": "/iso/seed.iso"},
                    "vda": "/vm/web.qcow2",
                    "vdb": {"file": "/vm/data.qcow2", "snapshot": "external"}
                }
            },
            "current": "newest",
            "snapshots": {
                "clean": {"created": 1600000000, "disks": {"vda": "internal", "vdb": "internal"}},
                "live": {
                    "parent": "clean", "state": "running", "memory": "internal",
                    "disks": {"vda": "internal", "vdb": "internal"}
                },
                "newest": {
                    "parent": "live", "state": "disk-snapshot", "comment": "before the upgrade",
                    "disks": {"vda": {"overlay": "/vm/web.qcow2"}},
                    "document": {"disks": {"vda": "/vm/web.base", "vdb": "/vm/data.qcow2"}}
                }
            }
        }
    },
    "layers": {
        "/vm/web.base": {"files": {"/etc/motd": "base\n"}},
        "/vm/web.qcow2": {
            "backing": "/vm/web.base",
            "files": {"/etc/motd": "now\n"},
            "snapshots": {"clean": {}, "live": {"files": {"/etc/motd": "live\n"}, "ram": {"/run/pid": "1\n"}}}
        },
        "/vm/data.qcow2": {"snapshots": {"clean": {}, "live": {}}}
    }
}"#;

/// Connects to a state that was written by hand; the directory has to outlive the connection.
pub(super) fn by_hand(text: &str) -> (tempfile::TempDir, Arc<dyn Hypervisor>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.json");
    std::fs::write(&path, text).unwrap();
    let fake = connect(&format!("fake:{}", path.display())).unwrap();
    (directory, fake)
}

#[test]
fn a_state_may_be_written_by_hand() {
    let (_directory, fake) = by_hand(FOREIGN);
    assert_eq!(fake.version().unwrap(), Version::new(10, 0, 0));
    let web = fake.domain("web").unwrap().unwrap();
    assert_eq!((web.domain.name.as_str(), web.domain.state), ("web", DomainState::Running));
    assert!(web.domain.is_persistent && web.metadata.is_none());
    assert_eq!((web.memory, web.cpus), (1 << 30, 2));
    let disks: Vec<_> = web.disks.iter().map(|disk| (disk.target.as_str(), disk.takes_part())).collect();
    assert_eq!(disks, [("sda", false), ("vda", true), ("vdb", true)]);
    assert_eq!(web.disks[0].format, "raw");

    let snapshots = fake.snapshots("web").unwrap();
    let kinds: Vec<_> = snapshots.iter().map(|it| (it.name.as_str(), it.kind(), &it.memory)).collect();
    let expected = [
        ("clean", SnapshotKind::Internal, &Memory::No),
        ("live", SnapshotKind::Internal, &Memory::Internal),
        ("newest", SnapshotKind::External, &Memory::No),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(snapshots[0].disks[1].file.as_deref(), Some(Path::new("/vm/web.qcow2")));
    assert_eq!(snapshots[0].disks[0].kind, None);
    assert!(snapshots[2].is_current);
    let guest = fake.guest("web").unwrap();
    assert_eq!(shell(&*guest, "cat /etc/motd").1, "now\n");
    assert_eq!(shell(&*guest, "cat /run/pid").1, "7\n");
}

#[test]
fn what_was_written_by_hand_survives_a_change() {
    let (directory, fake) = by_hand(FOREIGN);
    let before = fake.snapshots("web").unwrap();
    let details = format!("{:?}", fake.domain("web").unwrap());
    fake.suspend("web").unwrap();
    fake.resume("web").unwrap();
    assert_eq!(format!("{before:?}"), format!("{:?}", fake.snapshots("web").unwrap()));
    assert_eq!(details, format!("{:?}", fake.domain("web").unwrap()));
    drop(directory);
}

#[test]
fn every_kind_of_source_is_read() {
    let (_directory, fake) = by_hand(
        r#"{"domains": {"m": {"document": {"disks": {
            "a": {"block": "/dev/sdx", "format": "raw"},
            "b": {"volume": {"pool": "p", "volume": "v"}},
            "c": {"network": "rbd"},
            "d": {"other": "vhostuser"},
            "e": {"device": "cdrom"}
        }, "filesystems": ["virtiofs"], "host_devices": true, "nvram": "raw"}, "managed_save": true}}}"#,
    );
    let read = || fake.domain("m").unwrap().unwrap();
    let sources: Vec<Source> = read().disks.into_iter().map(|disk| disk.source).collect();
    let expected = [
        Source::Block("/dev/sdx".into()),
        Source::Volume { pool: "p".into(), volume: "v".into() },
        Source::Network("rbd".into()),
        Source::Other("vhostuser".into()),
        Source::None,
    ];
    assert_eq!(sources, expected);
    assert!(read().has_host_devices && read().has_managed_save);
    assert_eq!((read().filesystems, read().nvram), (vec!["virtiofs".to_string()], Some("raw".to_string())));
}

#[test]
fn a_slip_in_a_state_shows() {
    for text in [
        r#"{"version": "11"}"#,
        r#"{"domains": {"m": {"active": true, "document": {}}}}"#,
        r#"{"domains": {"m": {"document": {"disk": {}}}}}"#,
        r#"{"domains": {"m": {"document": {"disks": {"vda": {"path": "/x"}}}}}}"#,
        r#"{"domains": {"m": {"document": {}, "snapshots": {"a": {"disks": {"vda": "outside"}}}}}}"#,
        r#"{"layers": {"/x": {"files": {"/a": {"text": "a"}}}}}"#,
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        std::fs::write(&path, text).unwrap();
        assert!(connect(&format!("fake:{}", path.display())).is_err(), "{text}");
    }
}

#[test]
fn a_second_disk_is_mounted_under_its_name() {
    let (_directory, fake) = by_hand(FOREIGN);
    let guest = fake.guest("web").unwrap();
    super::write(&*guest, "/mnt/vdb/table", "rows");
    assert!(guest.exists("/mnt/vdb/table", &soon()).unwrap());
    fake.copy_image(&Image::qcow2("/vm/data.qcow2"), Path::new("/vm/copy.qcow2"), None).unwrap();
    fake.copy_image(&Image::qcow2("/vm/web.qcow2"), Path::new("/vm/other.qcow2"), None).unwrap();
    let disk = DiskFile { target: "vdb".into(), file: "/vm/other.qcow2".into(), format: "qcow2".into() };
    let document = fake.domain("web").unwrap().unwrap().document;
    fake.redefine("web", &document, &fake.domain("web").unwrap().unwrap().document, &[disk].into()).unwrap();
    assert!(guest.exists("/mnt/vdb/table", &soon()).unwrap(), "it runs on with the disk that it had");
    fake.destroy("web").unwrap();
    fake.start("web", Start::default()).unwrap();
    assert!(!guest.exists("/mnt/vdb/table", &soon()).unwrap());
}
