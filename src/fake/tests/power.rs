use std::path::Path;
use std::sync::Arc;

use super::state::{FOREIGN, by_hand};
use super::{soon, with_machine, write};
use crate::error::Result;
use crate::hypervisor::{DiskChanges, DiskFile, Document, DomainState, Hypervisor, Image, Start};

fn state(fake: &dyn Hypervisor) -> DomainState {
    fake.domain("m").unwrap().unwrap().domain.state
}

fn cause(result: Result<()>) -> String {
    result.unwrap_err().causes.remove(0)
}

fn running() -> Arc<dyn Hypervisor> {
    let fake = with_machine();
    fake.start("m", Start::default()).unwrap();
    fake
}

fn disk(file: &str) -> DiskFile {
    DiskFile { target: "vda".into(), file: file.into(), format: "qcow2".into() }
}

#[test]
fn each_change_of_state_needs_the_right_one() {
    let fake = with_machine();
    for refused in
        [fake.shutdown("m"), fake.suspend("m"), fake.resume("m"), fake.save("m", Path::new("/no/ram")).map(drop)]
    {
        assert_eq!(cause(refused), "domain is not running");
    }
    assert!(fake.screenshot("m").is_err());
    assert!(fake.pull("m", "vda", &soon()).is_err());
    fake.start("m", Start::default()).unwrap();
    assert_eq!(state(&*fake), DomainState::Running);
    assert_eq!(cause(fake.start("m", Start::default())), "domain is already running");
    assert_eq!(cause(fake.resume("m")), "domain is already running");
    fake.suspend("m").unwrap();
    fake.suspend("m").unwrap();
    assert_eq!(state(&*fake), DomainState::Paused);
    fake.shutdown("m").unwrap();
    assert_eq!(state(&*fake), DomainState::Paused, "a guest that stands still sees no power button");
    fake.resume("m").unwrap();
    fake.shutdown("m").unwrap();
    assert_eq!(state(&*fake), DomainState::Shutoff);
    fake.start("m", Start { paused: true, ..Start::default() }).unwrap();
    assert_eq!(state(&*fake), DomainState::Paused);
    fake.wait_until_gone("nobody", &soon()).unwrap();
    assert_eq!(fake.start("nobody", Start::default()).unwrap_err().message, "domain `nobody` not found");
}

#[test]
fn a_paused_guest_answers_nothing() {
    let fake = running();
    let guest = fake.guest("m").unwrap();
    fake.suspend("m").unwrap();
    let error = guest.exists("/a", &soon()).unwrap_err();
    assert_eq!(error.causes, ["domain `m` is paused"]);
    fake.guest("m").unwrap();
}

#[test]
fn the_ram_lasts_as_long_as_a_run() {
    let fake = running();
    let guest = fake.guest("m").unwrap();
    let has = |path| guest.exists(path, &soon()).unwrap();
    let fill = || ["/run/a", "/dev/shm/a", "/etc/a"].iter().for_each(|path| write(&*guest, path, "here"));
    fill();
    fake.suspend("m").unwrap();
    fake.resume("m").unwrap();
    assert!(has("/run/a") && has("/dev/shm/a") && has("/etc/a"));
    fake.destroy("m").unwrap();
    fake.start("m", Start::default()).unwrap();
    assert!(!has("/run/a") && !has("/dev/shm/a") && has("/etc/a"));
    fill();
    guest.reboot(&soon()).unwrap();
    assert!(!has("/run/a") && has("/etc/a"));
}

#[test]
fn a_saved_domain_resumes_where_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let ram = directory.path().join("ram");
    let fake = running();
    let guest = fake.guest("m").unwrap();
    write(&*guest, "/run/a", "here");
    write(&*guest, "/etc/a", "old");
    fake.save("m", &ram).unwrap();
    assert_eq!(state(&*fake), DomainState::Shutoff);
    assert!(std::fs::metadata(&ram).unwrap().len() > 0);

    fake.create_overlay(Path::new("/no/over"), &Image::qcow2("/nowhere/m.qcow2")).unwrap();
    fake.restore(&ram, &[disk("/no/over")].into(), true).unwrap();
    assert_eq!(state(&*fake), DomainState::Paused);
    assert_eq!(cause(fake.restore(&ram, &DiskChanges::default(), false)), "domain is already active as 'm'");
    fake.resume("m").unwrap();
    assert!(guest.exists("/run/a", &soon()).unwrap());
    write(&*guest, "/etc/b", "new");
    let images = ["/no/over", "/nowhere/m.qcow2"].map(Image::qcow2);
    assert_eq!(fake.disk_images("m").unwrap(), images, "it will start with the disk that it is defined with");
    assert!(fake.live_document("m").unwrap().0.contains("/no/over"));

    fake.destroy("m").unwrap();
    assert_eq!(fake.disk_images("m").unwrap(), images[1..]);
    fake.restore(&ram, &DiskChanges::default(), false).unwrap();
    assert_eq!(state(&*fake), DomainState::Running);
    assert!(guest.exists("/run/a", &soon()).unwrap() && !guest.exists("/etc/b", &soon()).unwrap());

    fake.destroy("m").unwrap();
    std::fs::remove_file(&ram).unwrap();
    assert!(cause(fake.restore(&ram, &DiskChanges::default(), false)).starts_with("Failed to open file '"));
}

#[test]
fn a_restored_domain_that_was_undefined_is_transient() {
    let fake = running();
    fake.save("m", Path::new("/no/ram")).unwrap();
    fake.undefine("m").unwrap();
    fake.restore(Path::new("/no/ram"), &DiskChanges::default(), false).unwrap();
    assert!(!fake.domain("m").unwrap().unwrap().domain.is_persistent);
    fake.destroy("m").unwrap();
    fake.define(&super::spec("m", "other")).unwrap();
    assert_eq!(
        cause(fake.restore(Path::new("/no/ram"), &DiskChanges::default(), false)),
        "domain 'm' already exists with uuid other"
    );
}

#[test]
fn host_devices_and_directories_keep_the_ram_from_being_saved() {
    for (device, expected) in [
        (r#""host_devices": true"#, "domain has assigned non-USB host devices"),
        (r#""filesystems": ["virtiofs"]"#, "migration with virtiofs device is not supported"),
        (r#""filesystems": ["path"]"#, "Migration is disabled when VirtFS export path is mounted in the guest"),
    ] {
        let text = format!(r#"{{"domains": {{"m": {{"state": "running", "document": {{{device}}}}}}}}}"#);
        let (_directory, fake) = by_hand(&text);
        assert_eq!(cause(fake.save("m", Path::new("/no/ram")).map(drop)), expected);
        assert_eq!(state(&*fake), DomainState::Running);
    }
}

#[test]
fn a_managed_save_is_resumed_once() {
    let (_directory, fake) = by_hand(
        r#"{"domains": {"m": {"managed_save": true, "ram": {"/run/a": "here"}, "document": {"disks": {"vda": "/a"}}}}}"#,
    );
    fake.start("m", Start::default()).unwrap();
    assert!(!fake.domain("m").unwrap().unwrap().has_managed_save);
    let guest = fake.guest("m").unwrap();
    assert!(guest.exists("/run/a", &soon()).unwrap());
    fake.destroy("m").unwrap();
    fake.start("m", Start::default()).unwrap();
    assert!(!guest.exists("/run/a", &soon()).unwrap());
}

#[test]
fn a_domain_does_not_start_without_its_disks() {
    let directory = tempfile::tempdir().unwrap();
    let fake = running();
    let over = directory.path().join("o.qcow2");
    fake.create_overlay(&over, &Image::qcow2("/nowhere/m.qcow2")).unwrap();
    fake.destroy("m").unwrap();
    let document = fake.live_document("m").unwrap();
    fake.redefine("m", &document, &fake.domain("m").unwrap().unwrap().document, &[disk(over.to_str().unwrap())].into())
        .unwrap();
    std::fs::remove_file(&over).unwrap();
    assert_eq!(cause(fake.start("m", Start::default())), format!("its layer `{}` is gone", over.display()));
}

#[test]
fn the_screen_is_a_picture() {
    let (kind, bytes) = running().screenshot("m").unwrap();
    assert_eq!(kind, "image/png");
    assert!(bytes.starts_with(b"\x89PNG\r\n\x1a\n") && bytes.ends_with(b"IEND\xaeB`\x82"));
    assert_eq!(bytes.len(), SCREEN_LENGTH);
}

/// As long as a picture of one grey pixel is: signature, header, data and end.
const SCREEN_LENGTH: usize = 8 + 25 + 22 + 12;

#[test]
fn redefine_keeps_what_makes_the_domain_ours() {
    let fake = with_machine();
    let mut spec = super::spec("m", "u");
    spec.metadata.attributes.insert("directory".into(), "/d".into());
    fake.define(&spec).unwrap();
    let other = fake.live_document("m").unwrap().0.replace("\"m\"", "\"n\"").replace("\"u\"", "\"v\"");
    let other = Document(other.replace("\"/d\"", "\"/e\"").replace("\"cpus\":1", "\"cpus\":4"));
    fake.redefine("m", &other, &fake.domain("m").unwrap().unwrap().document, &[disk("/no/x")].into()).unwrap();
    let m = fake.domain("m").unwrap().unwrap();
    assert_eq!((m.domain.uuid.as_str(), m.cpus), ("u", 4));
    assert_eq!(m.metadata.unwrap().attributes["directory"], "/d");
    assert_eq!(m.disks[0].file(), Some(Path::new("/no/x")));
    let of_a_run = DiskFile { target: "vdz".into(), ..disk("/no/y") };
    let as_now = DiskChanges { files: vec![of_a_run], as_now: vec!["vda".into()] };
    fake.redefine("m", &other, &fake.domain("m").unwrap().unwrap().document, &as_now).unwrap();
    let disks = fake.domain("m").unwrap().unwrap().disks;
    assert_eq!((disks.len(), disks[0].file()), (1, Some(Path::new("/no/x"))), "it stays what it is");
}

#[test]
fn a_transient_domain_is_not_redefined() {
    let (_directory, fake) =
        by_hand(r#"{"domains": {"m": {"state": "running", "persistent": false, "document": {}}}}"#);
    let document = fake.live_document("m").unwrap();
    assert_eq!(
        cause(fake.redefine("m", &document, &fake.domain("m").unwrap().unwrap().document, &DiskChanges::default())),
        "domain is transient"
    );
    fake.shutdown("m").unwrap();
    assert!(fake.domain("m").unwrap().is_none());
}

#[test]
fn a_pulled_disk_stands_alone() {
    let (_directory, fake) = by_hand(FOREIGN);
    let (web, base) = (Path::new("/vm/web.qcow2"), Image::qcow2("/vm/web.base"));
    assert_eq!(fake.backing_chain(&Image::qcow2(web)).unwrap(), [base]);
    assert_eq!(cause(fake.flatten(web)), "Failed to get \"write\" lock");
    fake.pull("web", "vda", &soon()).unwrap();
    assert_eq!(fake.backing_chain(&Image::qcow2(web)).unwrap(), []);
    assert_eq!(cause(fake.pull("web", "vdz", &soon())), "no disk named 'vdz'");
}

#[test]
fn a_flattened_image_shows_what_it_showed() {
    let fake = running();
    let guest = fake.guest("m").unwrap();
    write(&*guest, "/etc/a", "here");
    fake.destroy("m").unwrap();
    fake.create_overlay(Path::new("/no/over"), &Image::qcow2("/nowhere/m.qcow2")).unwrap();
    fake.flatten(Path::new("/no/over")).unwrap();
    assert_eq!(fake.backing_chain(&Image::qcow2("/no/over")).unwrap(), []);
    let document = fake.live_document("m").unwrap();
    fake.redefine("m", &document, &fake.domain("m").unwrap().unwrap().document, &[disk("/no/over")].into()).unwrap();
    fake.start("m", Start::default()).unwrap();
    assert!(guest.exists("/etc/a", &soon()).unwrap());
}
