#![allow(clippy::unwrap_used)]

mod qemu;

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::hypervisor::{CloneSpec, DomainSpec, Hypervisor, Image, RevertFlags, SnapshotRequest, SnapshotSpec, Start};
use crate::stop::Stop;
use std::time::Duration;

use crate::hypervisor::{
    DiskFile, DiskState, DomainState, Firmware, Memory, Metadata, Network, Ram, SnapshotFlags, SnapshotKind,
};
use crate::libvirt::connect;
use crate::libvirt::xml::disk_xml;

fn paths(directory: &Path) -> Paths {
    let [store, cache, embed, stdlib, history] = ["s", "c", "e", "l", "h"].map(|name| directory.join(name));
    Paths {
        store,
        is_store_named: true,
        cache,
        embed,
        stdlib,
        history,
        attendants: directory.join("attendants"),
        libvirt_settings: directory.join("libvirt"),
        libvirt_logs: directory.join("logs"),
    }
}

fn connected() -> Arc<dyn Hypervisor> {
    let directory = tempfile::tempdir().unwrap();
    connect(Some("test:///default"), &paths(directory.path())).unwrap().hypervisor
}

fn spec(name: &str, uuid: &str) -> DomainSpec {
    DomainSpec {
        name: name.to_string(),
        uuid: uuid.to_string(),
        description: String::new(),
        memory: 256 << 20,
        cpus: 1,
        cpu_model: None,
        firmware: Firmware::Bios,
        network: Network::User,
        boot: None,
        disk: "/s/disk.qcow2".into(),
        extra_xml: String::new(),
        metadata: Metadata {
            attributes: [("key".to_string(), "a'b".to_string())].into(),
            lines: vec!["run <x>".to_string()],
            payload: vec![1, 2, 3],
        },
    }
}

#[test]
fn the_test_driver_connects_and_lists_its_domain() {
    let hypervisor = connected();
    assert_eq!(hypervisor.uri(), "test:///default");
    assert!(hypervisor.is_simulated());
    let domains = hypervisor.domains().unwrap();
    assert!(
        domains
            .iter()
            .any(|domain| domain.name == "test" && domain.state == DomainState::Running && domain.is_persistent)
    );
    assert!(hypervisor.domain("nope").unwrap().is_none());
    assert!(hypervisor.snapshots("test").unwrap().is_empty());
}

#[test]
fn a_defined_domain_keeps_its_metadata_and_its_snapshots() {
    let hypervisor = connected();
    let name = "vm & <'x'> \"日本\"";
    let spec = spec(name, "7905b3da-7e40-4b12-b27a-c24db19ca4dc");
    hypervisor.define(&spec).unwrap();
    let domain = hypervisor.domain(name).unwrap().unwrap();
    assert_eq!(domain.metadata.as_ref(), Some(&spec.metadata));
    assert_eq!(domain.disks[0].file(), Some(Path::new("/s/disk.qcow2")));
    assert_eq!((domain.memory, domain.cpus, domain.has_managed_save), (256 << 20, 1, false));
    assert_eq!(domain.domain.state, DomainState::Shutoff);

    let snapshot = SnapshotSpec {
        name: "sn01 <a>".to_string(),
        parent: None,
        comment: "fresh & new".to_string(),
        created: 1_700_000_000,
        current: true,
        document: domain.document,
        disks: vec![DiskState { target: "vda".into(), layer: "/s/l".into(), overlay: "/s/o".into() }],
        memory: Memory::No,
        metadata: spec.metadata.clone(),
    };
    hypervisor.define_snapshot(name, &snapshot).unwrap();
    let child = SnapshotSpec { name: "child".into(), parent: Some("sn01 <a>".into()), current: false, ..snapshot };
    hypervisor.define_snapshot(name, &child).unwrap();
    hypervisor.define(&spec).unwrap();

    let mut snapshots = hypervisor.snapshots(name).unwrap();
    snapshots.sort_by_key(|snapshot| snapshot.parent.is_some());
    let [root, child] = snapshots.try_into().unwrap();
    assert_eq!((root.name.as_str(), root.is_current), ("sn01 <a>", true));
    assert_eq!((child.parent.as_deref(), child.is_current), (Some("sn01 <a>"), false));
    assert_eq!(root.comment, "fresh & new");
    assert_eq!(root.created, 1_700_000_000);
    assert_eq!(root.layers(), [disk_xml::qcow2("vda", Path::new("/s/l"))]);
    assert_eq!(root.metadata, Some(spec.metadata));

    hypervisor.delete_snapshot_metadata(name, "sn01 <a>").unwrap();
    assert_eq!(hypervisor.snapshots(name).unwrap()[0].parent, None);
    hypervisor.undefine(name).unwrap();
    assert!(hypervisor.domain(name).unwrap().is_none());
    hypervisor.undefine(name).unwrap();
}

#[test]
fn a_clone_runs_until_it_is_destroyed() {
    let hypervisor = connected();
    let spec = spec("cloned", "8905b3da-7e40-4b12-b27a-c24db19ca4dc");
    hypervisor.define(&spec).unwrap();
    let document = hypervisor.domain("cloned").unwrap().unwrap().document;
    let clone = CloneSpec {
        name: "clone".to_string(),
        uuid: "9905b3da-7e40-4b12-b27a-c24db19ca4dc".to_string(),
        document,
        disks: [("vda".to_string(), "/s/clone.qcow2".into())].into(),
        nvram: "/s/clone.nvram".into(),
        ram: Ram::Default,
        from: None,
        paused: false,
        metadata: Metadata::default(),
    };
    hypervisor.start_clone(&clone).unwrap();
    let domain = hypervisor.domain("clone").unwrap().unwrap();
    assert!(domain.domain.state.is_active() && !domain.domain.is_persistent);
    assert_eq!(domain.disks[0].file(), Some(Path::new("/s/clone.qcow2")));
    hypervisor.destroy("clone").unwrap();
    hypervisor.destroy("clone").unwrap();
    let stop = Stop::after(Duration::from_secs(5), &crate::stop::Interrupt::default());
    hypervisor.wait_until_gone("clone", &stop).unwrap();
    hypervisor.undefine("cloned").unwrap();
}

#[test]
fn a_missing_domain_is_told_with_a_hint() {
    let error = connected().snapshots("nope").unwrap_err();
    assert_eq!(error.message, "there is no domain `nope`");
    assert!(error.hint.unwrap().contains("virsh -c test:///default list --all"));
}

#[test]
fn a_connection_that_fails_makes_the_hypervisor_unavailable() {
    let directory = tempfile::tempdir().unwrap();
    let error = connect(Some("qemu+ssh://far.example/system"), &paths(directory.path())).err().unwrap();
    assert_eq!(error.kind, crate::error::Kind::Unavailable);
    let error = connect(Some("test:///nope.xml"), &paths(directory.path())).err().unwrap();
    assert_eq!(error.kind, crate::error::Kind::Unavailable);
    assert_eq!(error.message, "cannot connect to `test:///nope.xml`");
}

#[test]
fn internal_snapshots_are_taken_moved_reverted_and_deleted() {
    let hypervisor = connected();
    let spec = spec("snapped", "7a05b3da-7e40-4b12-b27a-c24db19ca4dc");
    hypervisor.define(&spec).unwrap();
    hypervisor.start("snapped", Start::default()).unwrap();
    let take = |name: &str| {
        let request = SnapshotRequest {
            name: name.to_string(),
            comment: "a <comment>".to_string(),
            kind: SnapshotKind::Internal,
            disks: vec![("vda".to_string(), None)],
            memory: None,
            flags: SnapshotFlags { atomic: true, ..SnapshotFlags::default() },
        };
        hypervisor.create_snapshot("snapped", &request).unwrap();
    };
    let find = |name: &str| {
        let snapshots = hypervisor.snapshots("snapped").unwrap();
        snapshots.into_iter().find(|snapshot| snapshot.name == name).unwrap()
    };
    take("a & b");
    take("child");
    let child = find("child");
    assert_eq!((child.parent.as_deref(), child.is_current, child.memory), (Some("a & b"), true, Memory::Internal));
    assert_eq!(hypervisor.read_snapshot(&child.document).unwrap().disks, child.disks);

    hypervisor.redefine_snapshot("snapped", &find("a & b").document, None, true).unwrap();
    assert!(find("a & b").is_current && !find("child").is_current);
    hypervisor.redefine_snapshot("snapped", &child.document, None, false).unwrap();
    assert_eq!((find("child").parent, find("a & b").is_current), (None, true));

    let paused = RevertFlags { paused: true, ..RevertFlags::default() };
    hypervisor.revert_internal("snapped", "child", paused).unwrap();
    let state = || hypervisor.domain("snapped").unwrap().unwrap().domain.state;
    assert_eq!((state(), find("child").is_current), (DomainState::Paused, true));
    hypervisor.delete_internal("snapped", "child").unwrap();
    let error = hypervisor.revert_internal("snapped", "child", paused).unwrap_err();
    assert_eq!(error.message, "cannot revert `snapped` to the snapshot `child`");
    hypervisor.undefine("snapped").unwrap();
}

#[test]
fn a_domain_is_started_paused_saved_and_shut_down() {
    let hypervisor = connected();
    let name = "powered";
    hypervisor.define(&spec(name, "8a05b3da-7e40-4b12-b27a-c24db19ca4dc")).unwrap();
    let state = || hypervisor.domain(name).unwrap().unwrap().domain.state;
    hypervisor.start(name, Start::default()).unwrap();
    assert_eq!(state(), DomainState::Running);
    hypervisor.suspend(name).unwrap();
    assert_eq!(state(), DomainState::Paused);
    hypervisor.resume(name).unwrap();
    let (kind, picture) = hypervisor.screenshot(name).unwrap();
    assert!(kind.starts_with("image/") && picture.len() > 1000, "{kind}");

    let directory = tempfile::tempdir().unwrap();
    let ram = directory.path().join("ram");
    hypervisor.save(name, &ram).unwrap();
    assert_eq!(state(), DomainState::Shutoff);
    hypervisor.start(name, Start::default()).unwrap();
    assert_eq!(hypervisor.disk_images(name).unwrap(), [Image::qcow2("/s/disk.qcow2")]);
    assert!(hypervisor.live_document(name).unwrap().0.contains(" id='"));
    hypervisor.shutdown(name).unwrap();
    assert_eq!(state(), DomainState::Shutoff);
    let error = hypervisor.shutdown(name).unwrap_err();
    assert_eq!(error.message, "cannot shut the domain `powered` down");
    hypervisor.undefine(name).unwrap();
}

#[test]
fn a_domain_is_redefined_from_a_snapshot() {
    let hypervisor = connected();
    let spec = spec("redefined", "9a05b3da-7e40-4b12-b27a-c24db19ca4dc");
    hypervisor.define(&spec).unwrap();
    let before = hypervisor.domain("redefined").unwrap().unwrap().document;
    let newer = DomainSpec { cpus: 2, metadata: Metadata { lines: vec!["new".into()], ..Metadata::default() }, ..spec };
    hypervisor.define(&newer).unwrap();
    let disk = DiskFile { target: "vda".into(), file: "/s/raw".into(), format: "raw".into() };
    hypervisor
        .redefine(
            "redefined",
            &before,
            &hypervisor.domain("redefined").unwrap().unwrap().document,
            &[disk.clone()].into(),
        )
        .unwrap();
    let details = hypervisor.domain("redefined").unwrap().unwrap();
    assert_eq!((details.cpus, details.metadata), (1, Some(newer.metadata)));
    assert_eq!((details.disks[0].file(), details.disks[0].format.as_str()), (Some(disk.file.as_path()), "raw"));
    hypervisor.undefine("redefined").unwrap();
}
