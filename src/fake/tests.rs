mod internal;
mod power;
mod snapshots;
mod state;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Kind, Result};
use crate::fake::connect;
use crate::hypervisor::{
    CloneSpec, Command, CommandLine, DiskFile, DiskState, DomainSpec, Exit, FileMode, Firmware, Guest, Hypervisor,
    Image, Memory, Metadata, Network, Ram, SnapshotSpec, Stream,
};
use crate::stop::{Interrupt, Stop};

pub(super) fn soon() -> Stop {
    Stop::after(Duration::from_secs(20), &Interrupt::default())
}

pub(super) fn spec(name: &str, uuid: &str) -> DomainSpec {
    DomainSpec {
        name: name.into(),
        uuid: uuid.into(),
        description: String::new(),
        memory: 1 << 30,
        cpus: 1,
        cpu_model: None,
        firmware: Firmware::Bios,
        network: Network::User,
        boot: None,
        disk: "/nowhere/m.qcow2".into(),
        extra_xml: String::new(),
        metadata: Metadata::default(),
    }
}

/// A connection with one machine `m` that does not run.
pub(super) fn with_machine() -> Arc<dyn Hypervisor> {
    let fake = connect("fake:").unwrap();
    fake.define(&spec("m", "u")).unwrap();
    fake
}

fn snapshot_spec(fake: &dyn Hypervisor, name: &str, parent: Option<&str>) -> SnapshotSpec {
    SnapshotSpec {
        name: name.into(),
        parent: parent.map(str::to_string),
        comment: format!("about {name}"),
        created: 7,
        current: true,
        document: fake.domain("m").unwrap().unwrap().document,
        disks: vec![DiskState { target: "vda".into(), layer: layer(name), overlay: layer(&format!("{name}+")) }],
        memory: Memory::No,
        metadata: Metadata { payload: vec![0, 255], ..Metadata::default() },
    }
}

fn layer(name: &str) -> PathBuf {
    format!("/nowhere/{name}.qcow2").into()
}

fn graft(fake: &dyn Hypervisor, name: &str, parent: Option<&str>) -> Result<()> {
    fake.define_snapshot("m", &snapshot_spec(fake, name, parent))
}

/// Starts a clone of `m` on the layer `name`, an overlay of the layer `backing`.
fn start(fake: &dyn Hypervisor, name: &str, backing: &str) -> Box<dyn Guest> {
    fake.create_overlay(&layer(name), &Image::qcow2(layer(backing))).unwrap();
    fake.start_clone(&clone(fake, name)).unwrap();
    fake.guest(name).unwrap()
}

fn clone(fake: &dyn Hypervisor, name: &str) -> CloneSpec {
    CloneSpec {
        name: name.into(),
        uuid: format!("uuid of {name}"),
        document: fake.domain("m").unwrap().unwrap().document,
        disks: BTreeMap::from([("vda".into(), layer(name))]),
        nvram: "/nowhere/x.nvram".into(),
        ram: Ram::Default,
        from: None,
        paused: false,
        metadata: Metadata::default(),
    }
}

pub(super) fn write(guest: &dyn Guest, path: &str, text: &str) {
    guest.write(path, &mut text.as_bytes(), &FileMode::default(), &soon()).unwrap();
}

pub(super) fn shell(guest: &dyn Guest, line: &str) -> (i32, String, String) {
    run(guest, &Command::new(CommandLine::Shell(line.into())), &soon()).unwrap()
}

fn run(guest: &dyn Guest, command: &Command, stop: &Stop) -> Result<(i32, String, String)> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut output = |stream, bytes: &[u8]| match stream {
        Stream::Stdout => stdout.extend_from_slice(bytes),
        Stream::Stderr => stderr.extend_from_slice(bytes),
    };
    let Exit(status) = guest.run(command, &mut output, stop)?;
    Ok((status, String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap()))
}

fn parents(fake: &dyn Hypervisor) -> Vec<(String, Option<String>, bool)> {
    fake.snapshots("m").unwrap().into_iter().map(|it| (it.name, it.parent, it.is_current)).collect()
}

#[test]
fn a_connection_returns_the_uri_it_was_given() {
    assert_eq!(connect("fake:").unwrap().uri(), "fake:");
    assert_eq!(connect("qemu:///system").err().map(|error| error.kind), Some(Kind::Usage));
}

#[test]
fn a_defined_domain_is_found_with_its_disk_and_metadata() {
    let fake = with_machine();
    let domain = fake.domain("m").unwrap().unwrap();
    assert!(domain.domain.is_persistent && !domain.domain.state.is_active());
    assert_eq!(domain.disks[0].file(), Some(Path::new("/nowhere/m.qcow2")));
    assert_eq!(domain.metadata, Some(Metadata::default()));
    assert!(fake.domain("n").unwrap().is_none());
}

#[test]
fn a_name_keeps_its_uuid_and_its_snapshots_when_it_is_redefined() {
    let fake = with_machine();
    graft(&*fake, "a", None).unwrap();
    fake.define(&DomainSpec { memory: 2 << 30, ..spec("m", "u") }).unwrap();
    assert_eq!(fake.snapshots("m").unwrap().len(), 1);
    let error = fake.define(&spec("m", "v")).unwrap_err();
    assert_eq!(error.to_string(), "cannot define domain `m`: it already exists with uuid u");
    let error = fake.define(&spec("n", "u")).unwrap_err();
    assert_eq!(error.to_string(), "cannot define domain `n`: domain `m` already has the uuid u");
}

#[test]
fn undefine_drops_the_snapshots() {
    let fake = with_machine();
    graft(&*fake, "a", None).unwrap();
    fake.undefine("m").unwrap();
    assert_eq!(fake.undefine("m").unwrap_err().message, "domain `m` not found");
    fake.define(&spec("m", "u")).unwrap();
    assert!(fake.snapshots("m").unwrap().is_empty());
}

#[test]
fn a_snapshot_comes_back_as_it_was_put_in() {
    let fake = with_machine();
    graft(&*fake, "a", None).unwrap();
    let snapshot = fake.snapshots("m").unwrap().remove(0);
    assert_eq!((snapshot.comment.as_str(), snapshot.created, snapshot.state.as_str()), ("about a", 7, "shutoff"));
    let expected = DiskFile { target: "vda".into(), file: layer("a"), format: "qcow2".into() };
    assert_eq!(snapshot.layers(), [expected]);
    assert_eq!(snapshot.overlays().collect::<Vec<_>>(), [layer("a+")]);
    assert_eq!(snapshot.metadata.unwrap().payload, [0, 255]);
}

#[test]
fn a_snapshot_needs_a_parent_that_exists() {
    let fake = with_machine();
    let error = graft(&*fake, "a", Some("nobody")).unwrap_err();
    assert_eq!(error.causes, ["parent nobody for moment a not found"]);
    let error = graft(&*fake, "a", Some("a")).unwrap_err();
    assert_eq!(error.causes, ["cannot set moment a as its own parent"]);
}

#[test]
fn a_snapshot_replaces_one_of_its_name_but_makes_no_cycle() {
    let fake = with_machine();
    graft(&*fake, "a", None).unwrap();
    graft(&*fake, "b", Some("a")).unwrap();
    graft(&*fake, "a", None).unwrap();
    assert_eq!(parents(&*fake), [("a".into(), None, true), ("b".into(), Some("a".into()), false)]);
    let error = graft(&*fake, "a", Some("b")).unwrap_err();
    assert_eq!(error.causes, ["parent b would create cycle to a"]);
}

#[test]
fn children_of_a_deleted_snapshot_move_to_its_parent() {
    let fake = with_machine();
    for (name, parent) in [("a", None), ("c", Some("a")), ("d", Some("c")), ("b", Some("a"))] {
        graft(&*fake, name, parent).unwrap();
    }
    fake.delete_snapshot_metadata("m", "c").unwrap();
    fake.delete_snapshot_metadata("m", "b").unwrap();
    assert_eq!(parents(&*fake), [("a".into(), None, true), ("d".into(), Some("a".into()), false)]);
    assert!(fake.delete_snapshot_metadata("m", "c").is_err());
}

#[test]
fn a_file_written_in_a_branch_is_in_its_children_and_not_in_its_siblings() {
    let fake = with_machine();
    let parent = start(&*fake, "parent", "m");
    write(&*parent, "/etc/motd", "parent");
    parent.shutdown(&soon()).unwrap();
    fake.wait_until_gone("parent", &soon()).unwrap();

    let left = start(&*fake, "left", "parent");
    write(&*left, "/left", "here");
    write(&*left, "/etc/motd", "left");
    let right = start(&*fake, "right", "parent");
    fake.destroy("left").unwrap();
    let child = start(&*fake, "child", "left");

    assert!(!right.exists("/left", &soon()).unwrap());
    assert_eq!(shell(&*right, "cat /etc/motd").1, "parent");
    assert_eq!(shell(&*child, "cat /etc/motd").1, "left");
    assert_eq!(shell(&*child, "test -e /left").0, 0);
}

#[test]
fn files_are_binary_safe() {
    let fake = with_machine();
    let guest = start(&*fake, "c", "m");
    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(guest.write("/b", &mut bytes.as_slice(), &FileMode::default(), &soon()).unwrap(), 256);
    let mut read = Vec::new();
    assert_eq!(guest.read("/b", &mut read, &soon()).unwrap(), 256);
    assert_eq!(read, bytes);
    let error = guest.read("/c", &mut read, &soon()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read `/c` in the guest: no such file or directory");
}

#[test]
fn an_overlay_has_a_real_file_where_there_is_a_directory_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let fake = with_machine();
    let overlay = directory.path().join("o.qcow2");
    fake.create_overlay(&overlay, &Image::qcow2("/nowhere/image")).unwrap();
    assert_eq!(std::fs::metadata(&overlay).unwrap().len(), 0);

    std::fs::remove_file(&overlay).unwrap();
    let clone = CloneSpec { disks: BTreeMap::from([("vda".into(), overlay.clone())]), ..clone(&*fake, "c") };
    let error = fake.start_clone(&clone).unwrap_err();
    assert_eq!(error.causes, [format!("its layer `{}` is gone", overlay.display())]);
}

#[test]
fn two_running_domains_share_no_disk() {
    let fake = with_machine();
    start(&*fake, "c", "m");
    let error = fake.start_clone(&CloneSpec { disks: clone(&*fake, "c").disks, ..clone(&*fake, "d") }).unwrap_err();
    assert_eq!(error.causes, ["`/nowhere/c.qcow2` is in use by domain `c`"]);
}

#[test]
fn the_builtin_commands_answer() {
    let fake = with_machine();
    let guest = start(&*fake, "c", "m");
    for (line, status, stderr) in [
        ("true", 0, ""),
        ("false", 1, ""),
        ("test -e /none", 1, ""),
        ("cat /none", 1, "cat: /none: No such file or directory\n"),
        ("cat /none || true", 0, ""),
        ("sleep 0.01", 0, ""),
        ("anything else", 0, ""),
    ] {
        assert_eq!(shell(&*guest, line), (status, String::new(), stderr.to_string()), "{line}");
    }
    let cat = Command { stdin: b"in".to_vec(), ..Command::argv(["cat"]) };
    assert_eq!(run(&*guest, &cat, &soon()).unwrap().1, "in");
}

#[test]
fn a_wait_ends_with_its_time_limit_and_with_an_interrupt() {
    let fake = with_machine();
    let guest = start(&*fake, "c", "m");
    let started = Instant::now();
    let stop = Stop::after(Duration::from_millis(30), &Interrupt::default());
    let error = run(&*guest, &Command::argv(["sleep", "30"]), &stop).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (Kind::Timeout, "`sleep 30` timed out after 30ms"));

    let interrupt = Interrupt::default();
    let stop = Stop::after(Duration::from_secs(20), &interrupt);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(30));
            interrupt.raise();
        });
        let error = run(&*guest, &Command::argv(["sleep", "30"]), &stop).unwrap_err();
        assert_eq!(error.kind, Kind::Interrupted);
    });
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_guest_that_is_gone_answers_nothing() {
    let fake = with_machine();
    let guest = start(&*fake, "c", "m");
    fake.destroy("c").unwrap();
    fake.destroy("c").unwrap();
    assert!(guest.wait_until_ready(&soon()).is_err());
    let error = run(&*guest, &Command::argv(["true"]), &soon()).unwrap_err();
    assert_eq!(error.to_string(), "`true` failed: domain `c` not found");
    assert_eq!(fake.guest("m").err().unwrap().message, "domain `m` is not running");
}

#[test]
fn the_file_tells_what_was_started_and_executed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.json");
    let answers = r#"{"answers": [{"command": "apt-get *", "status": 100, "stderr": "E: no\n", "delay_ms": 1}]}"#;
    std::fs::write(&path, answers).unwrap();
    let uri = format!("fake:{}", path.display());

    let fake = connect(&uri).unwrap();
    fake.define(&spec("m", "u")).unwrap();
    graft(&*fake, "a", None).unwrap();
    fake.create_overlay(&layer("a"), &Image::qcow2(layer("m"))).unwrap();
    let guest = start(&*fake, "c", "a");
    assert_eq!(shell(&*guest, "apt-get update"), (100, String::new(), "E: no\n".to_string()));
    run(&*guest, &Command { user: Some("postgres".into()), ..Command::argv(["id", "-u"]) }, &soon()).unwrap();

    // Another process sees the same.
    assert!(connect(&uri).unwrap().domain("c").unwrap().unwrap().domain.state.is_active());
    let state: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(state["started"], serde_json::json!(["c"]));
    let executed = serde_json::json!([
        { "domain": "c", "snapshot": "m/a", "command": "apt-get update" },
        { "domain": "c", "snapshot": "m/a", "command": "id -u", "user": "postgres" },
    ]);
    assert_eq!(state["executed"], executed);
}
