use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::state::{FOREIGN, by_hand};
use super::{soon, with_machine, write};
use crate::hypervisor::{
    DiskFile, Document, DomainState, Hypervisor, Image, Memory, Snapshot, SnapshotFlags, SnapshotKind, SnapshotRequest,
    Start,
};

const DISK_ONLY: SnapshotFlags =
    SnapshotFlags { disk_only: true, atomic: false, quiesce: false, halt: false, live: false, reuse_external: false };

/// An external snapshot of the disk `vda`.
fn external(name: &str) -> SnapshotRequest {
    SnapshotRequest {
        name: name.into(),
        comment: format!("about {name}"),
        kind: SnapshotKind::External,
        disks: vec![("vda".into(), Some(format!("/no/{name}+").into()))],
        memory: None,
        flags: SnapshotFlags::default(),
    }
}

fn internal(name: &str) -> SnapshotRequest {
    SnapshotRequest { kind: SnapshotKind::Internal, disks: vec![("vda".into(), None)], ..external(name) }
}

fn with_ram(name: &str) -> SnapshotRequest {
    SnapshotRequest { memory: Some(format!("/no/{name}.ram").into()), ..external(name) }
}

fn running() -> Arc<dyn Hypervisor> {
    let fake = with_machine();
    fake.start("m", Start::default()).unwrap();
    fake
}

fn refused(fake: &dyn Hypervisor, request: &SnapshotRequest) -> String {
    fake.create_snapshot("m", request).unwrap_err().causes.remove(0)
}

fn find(fake: &dyn Hypervisor, name: &str) -> Snapshot {
    fake.snapshots("m").unwrap().into_iter().find(|it| it.name == name).unwrap()
}

#[test]
fn an_external_snapshot_moves_the_domain_to_its_overlay() {
    let directory = tempfile::tempdir().unwrap();
    let fake = with_machine();
    let overlay = directory.path().join("over");
    let request = SnapshotRequest { disks: vec![("vda".into(), Some(overlay.clone()))], ..external("a") };
    fake.create_snapshot("m", &request).unwrap();
    assert!(overlay.exists());
    let snapshot = find(&*fake, "a");
    assert_eq!(
        (snapshot.state.as_str(), snapshot.is_current, snapshot.kind()),
        ("shutoff", true, SnapshotKind::External)
    );
    assert_eq!(snapshot.comment, "about a");
    assert_eq!(snapshot.layers()[0].file, Path::new("/nowhere/m.qcow2"));
    assert_eq!(snapshot.overlays().collect::<Vec<_>>(), [overlay.as_path()]);
    assert_eq!(fake.disk_images("m").unwrap(), [Image::qcow2(&overlay)]);
    assert_eq!(fake.backing_chain(&Image::qcow2(&overlay)).unwrap(), [Image::qcow2("/nowhere/m.qcow2")]);

    fake.create_snapshot("m", &external("b")).unwrap();
    let second = find(&*fake, "b");
    assert_eq!((second.parent.as_deref(), second.is_current), (Some("a"), true));
    assert!(!find(&*fake, "a").is_current);
}

#[test]
fn a_running_guest_writes_to_the_overlay_and_not_to_the_layer() {
    let fake = running();
    let guest = fake.guest("m").unwrap();
    write(&*guest, "/etc/old", "");
    fake.create_snapshot("m", &SnapshotRequest { flags: DISK_ONLY, ..external("a") }).unwrap();
    write(&*guest, "/etc/new", "");
    assert!(guest.exists("/etc/old", &soon()).unwrap());
    assert_eq!(find(&*fake, "a").state, "disk-snapshot");
    fake.destroy("m").unwrap();
    // What a revert does: the definition of then on a new overlay.
    let snapshot = find(&*fake, "a");
    fake.create_overlay(Path::new("/no/again"), &snapshot.layers()[0].image()).unwrap();
    let disk = DiskFile { file: "/no/again".into(), ..snapshot.layers().remove(0) };
    fake.redefine("m", &snapshot.document, &fake.domain("m").unwrap().unwrap().document, &[disk].into()).unwrap();
    fake.start("m", Start::default()).unwrap();
    assert!(guest.exists("/etc/old", &soon()).unwrap() && !guest.exists("/etc/new", &soon()).unwrap());
}

#[test]
fn a_snapshot_with_ram_is_resumed() {
    let fake = running();
    let guest = fake.guest("m").unwrap();
    write(&*guest, "/run/a", "");
    fake.create_snapshot("m", &with_ram("a")).unwrap();
    write(&*guest, "/run/b", "");
    write(&*guest, "/etc/b", "");
    let snapshot = find(&*fake, "a");
    assert_eq!((snapshot.state.as_str(), snapshot.memory_file()), ("running", Some(Path::new("/no/a.ram"))));
    fake.destroy("m").unwrap();
    fake.create_overlay(Path::new("/no/again"), &snapshot.layers()[0].image()).unwrap();
    let disk = DiskFile { file: "/no/again".into(), ..snapshot.layers().remove(0) };
    fake.restore(Path::new("/no/a.ram"), &[disk].into(), false).unwrap();
    assert!(guest.exists("/run/a", &soon()).unwrap());
    assert!(!guest.exists("/run/b", &soon()).unwrap() && !guest.exists("/etc/b", &soon()).unwrap());

    fake.suspend("m").unwrap();
    let paused = SnapshotRequest { flags: SnapshotFlags { halt: true, ..Default::default() }, ..with_ram("b") };
    fake.create_snapshot("m", &paused).unwrap();
    assert_eq!(find(&*fake, "b").state, "paused");
    assert_eq!(fake.domain("m").unwrap().unwrap().domain.state, DomainState::Shutoff, "it was halted");
}

#[test]
fn what_libvirt_refuses_of_a_running_guest_is_refused() {
    let fake = running();
    fake.create_snapshot("m", &SnapshotRequest { flags: DISK_ONLY, ..external("a") }).unwrap();
    let disks = |targets: &[&str]| targets.iter().map(|target| (target.to_string(), None)).collect();
    let quiesce = SnapshotFlags { quiesce: true, ..Default::default() };
    let live = SnapshotFlags { live: true, ..Default::default() };
    let reuse = SnapshotFlags { reuse_external: true, ..DISK_ONLY };
    let taken = vec![("vda".to_string(), Some(PathBuf::from("/no/a+")))];
    for (request, expected) in [
        (SnapshotRequest { flags: DISK_ONLY, ..external("a") }, "domain moment a already exists"),
        (
            SnapshotRequest { flags: DISK_ONLY, ..with_ram("b") },
            "memory state cannot be saved with offline or disk-only snapshot",
        ),
        (SnapshotRequest { flags: DISK_ONLY, ..internal("b") }, "active qemu domains require external disk snapshots"),
        (external("b"), "mixing internal and external targets for a snapshot is not yet supported"),
        (
            SnapshotRequest { memory: Some("/no/ram".into()), ..internal("b") },
            "mixing internal and external targets for a snapshot is not yet supported",
        ),
        (
            SnapshotRequest { disks: taken, flags: DISK_ONLY, ..external("b") },
            "external snapshot file for disk vda already exists and is not a block device: /no/a+",
        ),
        (SnapshotRequest { flags: reuse, ..external("b") }, "missing existing file for disk vda: /no/b+"),
        (
            SnapshotRequest { flags: quiesce, ..with_ram("b") },
            "Flag 'VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY' is required by flag 'VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE'",
        ),
        (
            SnapshotRequest { flags: SnapshotFlags { disk_only: true, ..live }, ..external("b") },
            "live snapshot creation is supported only during full system snapshots",
        ),
        (
            SnapshotRequest { flags: live, ..internal("b") },
            "live snapshot creation is supported only with external checkpoints",
        ),
        (SnapshotRequest { disks: disks(&["vdz"]), flags: DISK_ONLY, ..external("b") }, "no disk named 'vdz'"),
        (
            SnapshotRequest { disks: disks(&["vda", "vda"]), flags: DISK_ONLY, ..external("b") },
            "disk 'vda' specified twice",
        ),
        (
            SnapshotRequest { disks: vec![], flags: DISK_ONLY, ..external("b") },
            "disk-only snapshots require at least one disk to be selected for snapshot",
        ),
    ] {
        assert_eq!(refused(&*fake, &request), expected, "{request:?}");
    }
    assert_eq!(fake.snapshots("m").unwrap().len(), 1);
}

#[test]
fn what_libvirt_refuses_of_a_stopped_domain_is_refused() {
    let fake = with_machine();
    let quiesce = SnapshotFlags { quiesce: true, ..DISK_ONLY };
    let expected = "memory state cannot be saved with offline or disk-only snapshot";
    assert_eq!(refused(&*fake, &with_ram("a")), expected);
    assert_eq!(refused(&*fake, &SnapshotRequest { flags: quiesce, ..external("a") }), "domain is not running");
    fake.create_snapshot("m", &SnapshotRequest { flags: DISK_ONLY, ..external("a") }).unwrap();
    assert_eq!(find(&*fake, "a").state, "shutoff");
}

#[test]
fn a_paused_guest_is_not_quiesced() {
    let fake = running();
    let quiesce = SnapshotRequest { flags: SnapshotFlags { quiesce: true, ..DISK_ONLY }, ..external("a") };
    fake.suspend("m").unwrap();
    assert_eq!(refused(&*fake, &quiesce), "domain is not running");
    fake.resume("m").unwrap();
    fake.create_snapshot("m", &quiesce).unwrap();
}

#[test]
fn the_kind_of_disk_decides_how_it_is_held() {
    for (disk, kind, expected) in [
        (r#"{"device": "cdrom"}"#, SnapshotKind::External, "disk 'vda' has no medium"),
        (
            r#"{"file": "/a", "read_only": true}"#,
            SnapshotKind::External,
            "external snapshot for readonly disk vda is not supported",
        ),
        (
            r#"{"file": "/a", "format": "raw"}"#,
            SnapshotKind::Internal,
            "internal snapshot for disk vda unsupported for storage type raw",
        ),
        (
            r#"{"network": "rbd"}"#,
            SnapshotKind::Internal,
            "internal snapshots of disk vda are not supported on its source",
        ),
    ] {
        let (_directory, fake) =
            by_hand(&format!(r#"{{"domains": {{"m": {{"document": {{"disks": {{"vda": {disk}}}}}}}}}}}"#));
        assert_eq!(refused(&*fake, &SnapshotRequest { kind, ..internal("a") }), expected);
    }
}

#[test]
fn an_overlay_that_is_there_is_reused_on_demand() {
    let fake = with_machine();
    fake.create_overlay(Path::new("/no/a+"), &Image::qcow2("/nowhere/m.qcow2")).unwrap();
    let flags = SnapshotFlags { reuse_external: true, ..Default::default() };
    fake.create_snapshot("m", &SnapshotRequest { flags, ..external("a") }).unwrap();
    assert_eq!(fake.disk_images("m").unwrap(), [Image::qcow2("/no/a+")]);
}

#[test]
fn a_transient_domain_is_not_halted() {
    let (_directory, fake) = by_hand(
        r#"{"domains": {"m": {"state": "running", "persistent": false, "document": {"disks": {"vda": "/a"}}}}}"#,
    );
    let flags = SnapshotFlags { halt: true, ..DISK_ONLY };
    let request = SnapshotRequest { flags, ..external("a") };
    assert_eq!(refused(&*fake, &request), "cannot halt after transient domain snapshot");
}

#[test]
fn the_clock_can_be_pinned() {
    let (_directory, fake) = by_hand(r#"{"now": 42, "domains": {"m": {"document": {"disks": {"vda": "/a"}}}}}"#);
    fake.create_snapshot("m", &external("a")).unwrap();
    assert_eq!(find(&*fake, "a").created, 42);
    let fake = with_machine();
    fake.create_snapshot("m", &external("a")).unwrap();
    assert!(find(&*fake, "a").created > 1_700_000_000);
}

#[test]
fn a_document_holds_the_whole_snapshot() {
    let fake = with_machine();
    fake.create_snapshot("m", &external("a")).unwrap();
    fake.create_snapshot("m", &external("b")).unwrap();
    let b = find(&*fake, "b");
    let read = fake.read_snapshot(&b.document).unwrap();
    assert_eq!(format!("{read:?}"), format!("{:?}", Snapshot { is_current: false, ..b.clone() }));
    fake.delete_snapshot_metadata("m", "b").unwrap();
    fake.delete_snapshot_metadata("m", "a").unwrap();

    let put = |parent: Option<&str>, current| fake.redefine_snapshot("m", &b.document, parent, current);
    assert_eq!(put(Some("a"), true).unwrap_err().causes, ["parent a for moment b not found"]);
    assert_eq!(put(Some("b"), true).unwrap_err().causes, ["cannot set moment b as its own parent"]);
    put(None, false).unwrap();
    let again = find(&*fake, "b");
    assert_eq!((again.parent.as_deref(), again.is_current, again.created), (None, false, b.created));
    assert_eq!(again.layers(), b.layers());
    put(None, true).unwrap();
    assert!(find(&*fake, "b").is_current);
}

#[test]
fn a_snapshot_is_put_back_as_what_it_was_and_where_it_belongs() {
    let fake = running();
    fake.create_snapshot("m", &with_ram("a")).unwrap();
    let online = find(&*fake, "a");
    fake.delete_snapshot_metadata("m", "a").unwrap();
    fake.create_snapshot("m", &SnapshotRequest { flags: DISK_ONLY, ..external("a2") }).unwrap();
    let disk_only = Document(find(&*fake, "a2").document.0.replace("\"a2\"", "\"a\""));
    fake.redefine_snapshot("m", &online.document, None, false).unwrap();
    let error = fake.redefine_snapshot("m", &disk_only, None, false).unwrap_err();
    assert_eq!(error.causes, ["cannot change between online and offline snapshot state in snapshot a"]);

    fake.define(&super::spec("n", "v")).unwrap();
    let error = fake.redefine_snapshot("n", &online.document, None, false).unwrap_err();
    assert_eq!(error.causes, ["definition for snapshot a must use uuid v"]);
}

#[test]
fn a_document_may_ask_for_a_snapshot_without_a_domain() {
    let text = r#"{"name": "a", "snapshot": {"memory": {"external": "/r"}, "disks": {"vda": {"overlay": "/o"}}}}"#;
    let snapshot = with_machine().read_snapshot(&Document(text.into())).unwrap();
    assert_eq!((snapshot.name.as_str(), &snapshot.memory), ("a", &Memory::External("/r".into())));
    assert_eq!(snapshot.overlays().collect::<Vec<_>>(), [Path::new("/o")]);
    assert!(with_machine().read_snapshot(&Document("{}".into())).is_err());
}

#[test]
fn an_external_snapshot_of_some_disks_leaves_the_others_alone() {
    let (_directory, fake) = by_hand(FOREIGN);
    let request = SnapshotRequest { flags: DISK_ONLY, ..external("a") };
    fake.create_snapshot("web", &request).unwrap();
    let files = ["/iso/seed.iso", "/no/a+", "/vm/data.qcow2"].map(PathBuf::from);
    assert_eq!(fake.disk_images("web").unwrap().into_iter().map(|image| image.file).collect::<Vec<_>>(), files);
    let snapshot = fake.snapshots("web").unwrap().into_iter().find(|it| it.name == "a").unwrap();
    assert_eq!(snapshot.members().map(|disk| disk.target.as_str()).collect::<Vec<_>>(), ["vda"]);
    assert_eq!((snapshot.parent.as_deref(), snapshot.created), (Some("newest"), 1_700_000_000));
}
