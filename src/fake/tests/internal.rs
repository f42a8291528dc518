use std::path::Path;

use super::state::{FOREIGN, by_hand};
use super::{shell, soon, with_machine, write};
use crate::error::Result;
use crate::hypervisor::{
    DiskFile, DomainState, Hypervisor, Image, Memory, RevertFlags, SnapshotFlags, SnapshotKind, SnapshotRequest, Start,
};

const RUNNING: RevertFlags = RevertFlags { running: true, paused: false, force: false, reset_nvram: false };
const PAUSED: RevertFlags = RevertFlags { running: false, paused: true, force: false, reset_nvram: false };

fn request(name: &str) -> SnapshotRequest {
    SnapshotRequest {
        name: name.into(),
        comment: String::new(),
        kind: SnapshotKind::Internal,
        disks: vec![("vda".into(), None)],
        memory: None,
        flags: SnapshotFlags::default(),
    }
}

fn state(fake: &dyn Hypervisor, domain: &str) -> DomainState {
    fake.domain(domain).unwrap().unwrap().domain.state
}

fn revert(fake: &dyn Hypervisor, domain: &str, name: &str, flags: RevertFlags) -> Result<(), String> {
    fake.revert_internal(domain, name, flags).map_err(|mut error| error.causes.remove(0))
}

fn current(fake: &dyn Hypervisor, domain: &str) -> Option<String> {
    fake.snapshots(domain).unwrap().into_iter().find(|it| it.is_current).map(|it| it.name)
}

#[test]
fn an_internal_snapshot_brings_back_disk_and_ram() {
    let fake = with_machine();
    fake.start("m", Start::default()).unwrap();
    let guest = fake.guest("m").unwrap();
    let has = |path| guest.exists(path, &soon()).unwrap();
    ["/run/a", "/etc/a"].iter().for_each(|path| write(&*guest, path, ""));
    fake.create_snapshot("m", &request("a")).unwrap();
    ["/run/b", "/etc/b"].iter().for_each(|path| write(&*guest, path, ""));
    let snapshot = fake.snapshots("m").unwrap().remove(0);
    assert_eq!((snapshot.state.as_str(), &snapshot.memory), ("running", &Memory::Internal));
    assert_eq!(snapshot.members().next().unwrap().file.as_deref(), Some(Path::new("/nowhere/m.qcow2")));

    revert(&*fake, "m", "a", RevertFlags::default()).unwrap();
    assert!(has("/run/a") && has("/etc/a") && !has("/run/b") && !has("/etc/b"));
    fake.destroy("m").unwrap();
    revert(&*fake, "m", "a", PAUSED).unwrap();
    assert_eq!(state(&*fake, "m"), DomainState::Paused);
    fake.resume("m").unwrap();
    assert!(has("/run/a"));
}

#[test]
fn an_internal_snapshot_of_a_stopped_domain_stops_it() {
    let fake = with_machine();
    fake.create_snapshot("m", &request("a")).unwrap();
    fake.create_snapshot("m", &request("b")).unwrap();
    fake.start("m", Start::default()).unwrap();
    write(&*fake.guest("m").unwrap(), "/etc/a", "");
    let refused = revert(&*fake, "m", "a", RUNNING);
    assert_eq!(refused, Err("revert requires force: must respawn qemu to start inactive snapshot".into()));
    revert(&*fake, "m", "a", RevertFlags::default()).unwrap();
    assert_eq!((state(&*fake, "m"), current(&*fake, "m")), (DomainState::Shutoff, Some("a".into())));
    revert(&*fake, "m", "b", RUNNING).unwrap();
    assert_eq!((state(&*fake, "m"), current(&*fake, "m")), (DomainState::Running, Some("b".into())));
    assert!(!fake.guest("m").unwrap().exists("/etc/a", &soon()).unwrap());
    revert(&*fake, "m", "b", RevertFlags { force: true, ..PAUSED }).unwrap();
    assert_eq!(state(&*fake, "m"), DomainState::Paused);
}

#[test]
fn what_libvirt_does_not_revert_to_is_refused() {
    let (_directory, fake) = by_hand(FOREIGN);
    for (name, flags, expected) in [
        ("none", RevertFlags::default(), "no domain snapshot with matching name 'none'"),
        ("newest", RevertFlags::default(), "revert to external snapshot not supported yet"),
        (
            "clean",
            RevertFlags { paused: true, ..RUNNING },
            "Flags 'VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING' and 'VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED' are mutually exclusive",
        ),
    ] {
        assert_eq!(revert(&*fake, "web", name, flags), Err(expected.into()));
    }
    revert(&*fake, "web", "live", RevertFlags::default()).unwrap();
    let guest = fake.guest("web").unwrap();
    assert_eq!((shell(&*guest, "cat /etc/motd").1, shell(&*guest, "cat /run/pid").1), ("live\n".into(), "1\n".into()));
    revert(&*fake, "web", "clean", RevertFlags::default()).unwrap();
    fake.start("web", Start::default()).unwrap();
    assert_eq!(shell(&*guest, "cat /etc/motd").1, "base\n");
}

#[test]
fn an_image_that_lost_the_snapshot_does_not_bring_it_back() {
    for (layer, expected) in [
        ("{}", "Snapshot 'a' does not exist in one or more devices"),
        (r#"{"a": {}}"#, "This is a disk-only snapshot. Revert to it offline using qemu-img"),
    ] {
        let (_directory, fake) = by_hand(&format!(
            r#"{{"domains": {{"m": {{"document": {{"disks": {{"vda": "/a"}}}}, "snapshots": {{
                "a": {{"state": "running", "memory": "internal", "disks": {{"vda": "internal"}}}}
            }}}}}}, "layers": {{"/a": {{"snapshots": {layer}}}}}}}"#
        ));
        assert_eq!(revert(&*fake, "m", "a", RevertFlags::default()), Err(expected.into()));
    }
    let fake = with_machine();
    fake.create_snapshot("m", &request("a")).unwrap();
    fake.copy_image(&Image::qcow2("/no/image"), Path::new("/nowhere/m.qcow2"), None).unwrap();
    let error = revert(&*fake, "m", "a", RevertFlags::default()).unwrap_err();
    assert_eq!(error, "Could not apply snapshot 'a': Can't find snapshot in `/nowhere/m.qcow2`");
}

#[test]
fn a_deleted_internal_snapshot_is_gone_from_tree_and_image() {
    let (_directory, fake) = by_hand(FOREIGN);
    let error = fake.delete_internal("web", "newest").unwrap_err();
    assert_eq!(error.causes, ["deletion of external disk snapshots not supported"]);
    fake.delete_internal("web", "live").unwrap();
    let newest = fake.snapshots("web").unwrap().pop().unwrap();
    assert_eq!(newest.parent.as_deref(), Some("clean"));
    let copy = |name| fake.copy_internal(Path::new("/vm/web.qcow2"), name, Path::new("/vm/copy.qcow2"));
    assert_eq!(copy("live").unwrap_err().causes, ["Failed to load snapshot: Can't find snapshot"]);
    copy("clean").unwrap();
    assert!(fake.delete_internal("web", "live").is_err());

    let fake = with_machine();
    fake.create_snapshot("m", &request("a")).unwrap();
    fake.create_snapshot("m", &request("b")).unwrap();
    fake.delete_internal("m", "b").unwrap();
    assert_eq!(current(&*fake, "m"), Some("a".into()));
    fake.delete_internal("m", "a").unwrap();
    assert_eq!(current(&*fake, "m"), None);
}

#[test]
fn a_copied_internal_snapshot_is_what_the_guest_saw() {
    let (_directory, fake) = by_hand(FOREIGN);
    let (web, copy) = (Path::new("/vm/web.qcow2"), Path::new("/vm/copy.qcow2"));
    fake.destroy("web").unwrap();
    let document = fake.live_document("web").unwrap();
    let guest = |name: &str| {
        fake.copy_internal(web, name, copy).unwrap();
        assert_eq!(fake.backing_chain(&Image::qcow2(copy)).unwrap(), []);
        fake.redefine(
            "web",
            &document,
            &fake.domain("web").unwrap().unwrap().document,
            &[DiskFile { target: "vda".into(), file: copy.into(), format: "qcow2".into() }].into(),
        )
        .unwrap();
        fake.start("web", Start::default()).unwrap();
        let motd = shell(&*fake.guest("web").unwrap(), "cat /etc/motd").1;
        fake.destroy("web").unwrap();
        motd
    };
    assert_eq!((guest("clean"), guest("live")), ("base\n".into(), "live\n".into()));
}

#[test]
fn an_internal_snapshot_holds_every_disk_that_is_written_to() {
    let (_directory, fake) = by_hand(FOREIGN);
    let error = fake.create_snapshot("web", &request("a")).unwrap_err();
    assert_eq!(error.causes, ["internal and full system snapshots require all disks to be selected for snapshot"]);
    let disks = vec![("vda".into(), None), ("vdb".into(), None)];
    fake.create_snapshot("web", &SnapshotRequest { disks, ..request("a") }).unwrap();
    assert_eq!(current(&*fake, "web"), Some("a".into()));
}

#[test]
fn the_firmwares_variables_decide_about_internal_snapshots() {
    for (version, nvram, expected) in [
        ("10.0.0", "qcow2", Some("internal snapshots of a VM with pflash based firmware are not supported")),
        ("11.3.0", "raw", Some("internal snapshots of a VM with pflash based firmware require QCOW2 nvram format")),
        ("11.3.0", "qcow2", None),
    ] {
        let (_directory, fake) = by_hand(&format!(
            r#"{{"version": "{version}", "domains": {{"m": {{"state": "running",
                "document": {{"nvram": "{nvram}", "disks": {{"vda": "/a"}}}}}}}}}}"#
        ));
        let refused = fake.create_snapshot("m", &request("a")).err().map(|mut error| error.causes.remove(0));
        assert_eq!(refused.as_deref(), expected);
    }
}
