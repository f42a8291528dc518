//! The adapter against a real QEMU, with domains that have no system to boot.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::hypervisor::{
    Clones, DiskChanges, DiskFile, Document, DomainDetails, DomainSpec, DomainState, Domains, Firmware, Guests, Image,
    Images, Memory, Metadata, Network, RevertFlags, Snapshot, SnapshotDisk, SnapshotFlags, SnapshotKind,
    SnapshotRequest, Snapshots, Start,
};
use crate::libvirt::guest::transfer::Transfers;
use crate::libvirt::image::qemu_img;
use crate::libvirt::memory::live_trial;
use crate::libvirt::xml::disk_xml;
use crate::stop::{Interrupt, Stop};

/// QEMU runs as a user of its own, who cannot reach into most temporary directories.
const REACHABLE: &str = "/var/lib/snaptree-test";

/// A defined domain with a small disk and an empty drive, and a directory for its files. Both go when it is dropped.
struct Vm {
    libvirt: Libvirt,
    name: String,
    directory: PathBuf,
}

impl Vm {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        virt::error::clear_error_callback();
        let uri = "qemu:///system";
        let tcg = Accelerator::Tcg("the tests' choice".to_string());
        let name = format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = Path::new(REACHABLE).join(&name);
        fs::create_dir_all(&directory).unwrap();
        let libvirt = Libvirt {
            connect: Mutex::new(Connect::open(Some(uri)).unwrap()),
            uri: uri.to_string(),
            cache: directory.clone(),
            embed: directory.clone(),
            logs_of_user: directory.clone(),
            attendants: directory.clone(),
            accelerator: OnceLock::from(tcg),
            capabilities: OnceLock::new(),
            liveness: Mutex::default(),
            transfers: Transfers::new(&directory),
            held: Mutex::default(),
        };
        let vm = Self { libvirt, name, directory };
        qemu_img(&["create", "-q", "-f", "qcow2", vm.text("disk").as_str(), "1M"]);
        let spec = DomainSpec {
            name: vm.name.clone(),
            uuid: uuid::Uuid::new_v4().to_string(),
            description: String::new(),
            memory: 64 << 20,
            cpus: 1,
            cpu_model: None,
            firmware: Firmware::Bios,
            network: Network::None,
            boot: None,
            disk: vm.file("disk"),
            extra_xml: "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>
                <video><model type='vga'/></video>"
                .to_string(),
            metadata: metadata("mine"),
        };
        vm.libvirt.define(&spec).unwrap();
        vm
    }

    fn started() -> Self {
        let vm = Self::new();
        vm.libvirt.start(&vm.name, Start::default()).unwrap();
        vm
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.qcow2"))
    }

    fn text(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    fn details(&self) -> DomainDetails {
        self.libvirt.domain(&self.name).unwrap().unwrap()
    }

    fn state(&self) -> DomainState {
        self.details().domain.state
    }

    fn disk(&self) -> PathBuf {
        self.details().disks[0].file().unwrap().to_path_buf()
    }

    /// Takes a snapshot; an external one gets an overlay of its name.
    fn take(&self, name: &str, kind: SnapshotKind, memory: bool, flags: SnapshotFlags) -> Result<Snapshot> {
        let overlay = (kind == SnapshotKind::External).then(|| self.file(name));
        let request = SnapshotRequest {
            name: name.to_string(),
            comment: "a <comment>".to_string(),
            kind,
            disks: vec![("vda".to_string(), overlay)],
            memory: memory.then(|| self.directory.join(format!("{name}.ram"))),
            flags,
        };
        self.libvirt.create_snapshot(&self.name, &request)?;
        Ok(self.snapshot(name))
    }

    fn snapshots(&self) -> Vec<Snapshot> {
        self.libvirt.snapshots(&self.name).unwrap()
    }

    fn snapshot(&self, name: &str) -> Snapshot {
        self.snapshots().into_iter().find(|snapshot| snapshot.name == name).unwrap()
    }

    fn current(&self) -> Option<String> {
        let mut current = self.snapshots().into_iter().filter(|snapshot| snapshot.is_current);
        let name = current.next().map(|snapshot| snapshot.name);
        assert!(current.next().is_none());
        name
    }

    /// Puts a snapshot again as it was, and sees that nothing of it changes but a current one's overlays.
    fn put_again(&self, name: &str, current: bool) {
        let before = self.snapshot(name);
        let parent = before.parent.as_deref();
        self.libvirt.redefine_snapshot(&self.name, &before.document, parent, current).unwrap();
        let expected = if current { self.with_present_overlays(&before) } else { before.document };
        assert_eq!(self.snapshot(name).document, expected, "{name}");
    }

    fn with_present_overlays(&self, snapshot: &Snapshot) -> Document {
        let present = self.libvirt.domain(&self.name).unwrap().unwrap().disks;
        let mut xml = snapshot.document.0.clone();
        for disk in &snapshot.disks {
            let now = present.iter().find(|it| it.target == disk.target).and_then(|it| it.file());
            if let (Some(overlay), Some(now)) = (&disk.overlay, now.filter(|now| Some(*now) != disk.file.as_deref())) {
                xml = xml.replacen(overlay.to_str().unwrap(), now.to_str().unwrap(), 1);
            }
        }
        Document(xml)
    }

    /// Puts every snapshot again, makes each the current one, and takes one out of the tree and puts it back.
    fn put_all_again(&self) {
        for snapshot in self.snapshots() {
            let current = self.current();
            self.put_again(&snapshot.name, false);
            assert_eq!(self.current(), current, "{}", snapshot.name);
            self.put_again(&snapshot.name, true);
            assert_eq!(self.current().as_ref(), Some(&snapshot.name));
            self.put_again(&snapshot.name, false);
            assert_eq!(self.current().as_ref(), Some(&snapshot.name));
        }
        for snapshot in self.snapshots() {
            self.libvirt.delete_snapshot_metadata(&self.name, &snapshot.name).unwrap();
            let parent = snapshot.parent.as_deref();
            self.libvirt.redefine_snapshot(&self.name, &snapshot.document, parent, true).unwrap();
            assert_eq!(self.snapshot(&snapshot.name).document, self.with_present_overlays(&snapshot));
        }
    }

    fn redefine(&self, document: &Document, disks: &DiskChanges) {
        self.libvirt.redefine(&self.name, document, &self.details().document, disks).unwrap();
    }

    pub fn image(&self, name: &str) -> Image {
        Image::qcow2(self.file(name))
    }

    fn overlay(&self, name: &str, backing: &str) -> DiskFile {
        self.libvirt.create_overlay(&self.file(name), &self.image(backing)).unwrap();
        disk_xml::qcow2("vda", &self.file(name))
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.libvirt.undefine(&self.name);
        self.libvirt.remove_log(&self.name);
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn metadata(key: &str) -> Metadata {
    Metadata { attributes: [("key".to_string(), key.to_string())].into(), ..Metadata::default() }
}

fn qemu_img(arguments: &[&str]) {
    assert!(Command::new("qemu-img").args(arguments).status().unwrap().success(), "{arguments:?}");
}

/// Fills the beginning of an image that no guest uses.
fn fill(image: &Path, byte: u8) {
    qemu_io(image, &format!("write -q -P {byte} 0 64k"));
}

fn is_filled(image: &Path, byte: u8) -> bool {
    !qemu_io(image, &format!("read -P {byte} 0 64k")).contains("verification failed")
}

fn qemu_io(image: &Path, command: &str) -> String {
    let output = Command::new("qemu-io").args(["-f", "qcow2", "-c", command]).arg(image).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

fn atomic() -> SnapshotFlags {
    SnapshotFlags { atomic: true, ..SnapshotFlags::default() }
}

fn soon() -> Stop {
    Stop::after(Duration::from_secs(60), &Interrupt::default())
}

#[test]
#[ignore = "needs QEMU"]
fn internal_snapshots_of_a_running_domain_hold_its_ram() {
    let vm = Vm::started();
    let first = vm.take("first", SnapshotKind::Internal, false, atomic()).unwrap();
    assert_eq!((first.memory.clone(), first.state.as_str()), (Memory::Internal, "running"));
    assert_eq!(first.comment, "a <comment>");
    assert_eq!(
        first.disks,
        [
            SnapshotDisk {
                target: "vda".to_string(),
                kind: Some(SnapshotKind::Internal),
                is_written: true,
                file: Some(vm.file("disk")),
                format: "qcow2".to_string(),
                overlay: None,
                obstacle: None,
                is_running_only: false,
                is_optional: false,
            },
            SnapshotDisk {
                target: "sda".to_string(),
                kind: None,
                is_written: false,
                file: None,
                format: "raw".to_string(),
                overlay: None,
                obstacle: None,
                is_running_only: false,
                is_optional: false,
            },
        ]
    );
    let second = vm.take("second", SnapshotKind::Internal, false, atomic()).unwrap();
    assert_eq!((second.parent.as_deref(), second.is_current), (Some("first"), true));
    vm.put_all_again();

    vm.libvirt.copy_internal(&vm.file("disk"), "first", &vm.file("copy")).unwrap();
    assert_eq!((vm.libvirt.backing_chain(&vm.image("copy")).unwrap().len(), mode(&vm.file("copy"))), (0, 0o600));
    assert!(vm.libvirt.copy_internal(&vm.file("disk"), "1", &vm.file("copy")).is_err());

    let paused = RevertFlags { paused: true, ..RevertFlags::default() };
    vm.libvirt.revert_internal(&vm.name, "first", paused).unwrap();
    assert_eq!((vm.state(), vm.current().as_deref()), (DomainState::Paused, Some("first")));
    vm.libvirt.delete_internal(&vm.name, "first").unwrap();
    assert_eq!(vm.snapshot("second").parent, None);
    assert!(vm.libvirt.copy_internal(&vm.file("disk"), "first", &vm.file("copy")).is_err());
    let error = vm.libvirt.delete_internal(&vm.name, "first").unwrap_err();
    assert!(error.causes[0].contains("no domain snapshot"), "{error}");
}

#[test]
#[ignore = "needs QEMU"]
fn internal_snapshots_of_a_domain_that_is_shut_off_bring_its_disk_back() {
    let vm = Vm::new();
    fill(&vm.file("disk"), 1);
    // Only the name for a running guest has to be an identifier of QEMU's.
    let name = "off, <a> & 'b'";
    let taken = vm.take(name, SnapshotKind::Internal, false, atomic()).unwrap();
    assert_eq!((taken.memory, taken.state.as_str()), (Memory::No, "shutoff"));
    fill(&vm.file("disk"), 2);
    vm.put_all_again();
    vm.libvirt.copy_internal(&vm.file("disk"), name, &vm.file("copy")).unwrap();
    assert!(is_filled(&vm.file("copy"), 1));
    let running = RevertFlags { running: true, ..RevertFlags::default() };
    vm.libvirt.revert_internal(&vm.name, name, running).unwrap();
    assert_eq!(vm.state(), DomainState::Running);
    vm.libvirt.destroy(&vm.name).unwrap();
    assert!(is_filled(&vm.file("disk"), 1));
    vm.libvirt.delete_internal(&vm.name, name).unwrap();
    assert!(vm.snapshots().is_empty());
}

#[test]
#[ignore = "needs QEMU"]
fn external_snapshots_leave_the_file_and_continue_in_an_overlay() {
    let vm = Vm::new();
    let off = vm.take("off", SnapshotKind::External, false, atomic()).unwrap();
    assert_eq!((off.state.as_str(), off.memory, mode(&vm.file("off"))), ("shutoff", Memory::No, 0o600));
    vm.libvirt.start(&vm.name, Start { paused: true, ..Start::default() }).unwrap();
    assert_eq!(vm.state(), DomainState::Paused);
    vm.libvirt.resume(&vm.name).unwrap();

    let ram = vm.take("ram", SnapshotKind::External, true, SnapshotFlags { live: true, ..atomic() }).unwrap();
    assert_eq!((ram.state.as_str(), ram.memory_file()), ("running", Some(vm.directory.join("ram.ram").as_path())));
    let disk_only = SnapshotFlags { disk_only: true, ..atomic() };
    let disks = vm.take("disks", SnapshotKind::External, false, disk_only).unwrap();
    assert_eq!((disks.state.as_str(), disks.memory), ("disk-snapshot", Memory::No));
    assert_eq!((vm.disk(), mode(&vm.file("disks"))), (vm.file("disks"), 0o600));
    let chain = ["ram", "off", "disk"].map(|name| vm.image(name));
    assert_eq!(vm.libvirt.backing_chain(&vm.image("disks")).unwrap(), chain);
    assert_eq!(qemu_img::backing_chain(&vm.image("disks")).unwrap(), chain);
    for (name, layer, overlay) in [("off", "disk", "off"), ("ram", "off", "ram"), ("disks", "ram", "disks")] {
        let snapshot = vm.snapshot(name);
        assert_eq!(snapshot.layers(), [disk_xml::qcow2("vda", &vm.file(layer))]);
        assert_eq!(snapshot.overlays().collect::<Vec<_>>(), [vm.file(overlay)]);
    }
    vm.put_all_again();

    let halt = SnapshotFlags { halt: true, ..disk_only };
    vm.overlay("halted", "disks");
    vm.take("halted", SnapshotKind::External, false, SnapshotFlags { reuse_external: true, ..halt }).unwrap();
    assert_eq!(vm.state(), DomainState::Shutoff);
    vm.put_all_again();
}

#[test]
#[ignore = "needs QEMU"]
fn what_libvirt_refuses_is_explained() {
    let vm = Vm::started();
    let quiesce = SnapshotFlags { disk_only: true, quiesce: true, ..atomic() };
    let error = vm.take("quiet", SnapshotKind::External, false, quiesce).unwrap_err();
    assert_eq!(error.message, format!("cannot take the snapshot `quiet` of `{}`", vm.name));
    assert!(error.hint.unwrap().contains("guest agent"));
    assert!(vm.libvirt.start(&vm.name, Start::default()).is_err());
    assert!(!vm.file("quiet").exists());
    let error = vm.take("a name", SnapshotKind::Internal, false, atomic()).unwrap_err();
    assert!(error.hint.unwrap().contains("letters, digits"));
    let unknown = SnapshotRequest {
        name: "x".to_string(),
        comment: String::new(),
        kind: SnapshotKind::Internal,
        disks: vec![("vdz".to_string(), None)],
        memory: None,
        flags: SnapshotFlags::default(),
    };
    let error = vm.libvirt.create_snapshot(&vm.name, &unknown).unwrap_err();
    assert_eq!(error.message, "the domain has no disk `vdz`");
}

#[test]
#[ignore = "needs QEMU"]
fn a_domain_is_redefined_on_an_overlay_and_keeps_what_is_remembered() {
    let vm = Vm::started();
    let before = vm.take("s", SnapshotKind::External, true, atomic()).unwrap();
    vm.libvirt.destroy(&vm.name).unwrap();
    let overlay = vm.overlay("again", "disk");
    vm.redefine(&before.document, &[overlay].into());
    let details = vm.details();
    assert_eq!((vm.disk(), details.metadata), (vm.file("again"), Some(metadata("mine"))));
    assert_eq!(vm.libvirt.backing_chain(&vm.image("again")).unwrap(), [vm.image("disk")]);
    assert_eq!(vm.snapshots().len(), 1);
    vm.libvirt.start(&vm.name, Start::default()).unwrap();
    vm.redefine(&before.document, &[disk_xml::qcow2("vda", &vm.file("s"))].into());
    assert_eq!(vm.libvirt.disk_images(&vm.name).unwrap(), [vm.image("again"), vm.image("s")]);
    let Document(live) = vm.libvirt.live_document(&vm.name).unwrap();
    assert!(live.contains(" id='") && live.contains("again.qcow2"), "{live}");
    // A description of a run is as good as one of a snapshot.
    vm.redefine(&Document(live), &DiskChanges::default());
    assert_eq!(vm.disk(), vm.file("again"));
}

#[test]
#[ignore = "needs QEMU"]
fn saved_ram_resumes_with_other_disks() {
    let vm = Vm::started();
    let file = vm.directory.join("saved");
    vm.libvirt.save(&vm.name, &file).unwrap();
    assert_eq!((vm.state(), vm.details().has_managed_save), (DomainState::Shutoff, false));
    assert!(fs::read(&file).unwrap().starts_with(b"LibvirtQemudSave\x02\0\0\0"));
    vm.libvirt.restore(&file, &[vm.overlay("one", "disk")].into(), true).unwrap();
    assert_eq!((vm.state(), file.exists()), (DomainState::Paused, true));
    assert_eq!(vm.libvirt.disk_images(&vm.name).unwrap(), [vm.image("disk"), vm.image("one")]);
    vm.libvirt.destroy(&vm.name).unwrap();

    vm.libvirt.start(&vm.name, Start::default()).unwrap();
    let snapshot = vm.take("s", SnapshotKind::External, true, atomic()).unwrap();
    vm.libvirt.suspend(&vm.name).unwrap();
    assert_eq!(vm.state(), DomainState::Paused);
    let error = vm.libvirt.restore(snapshot.memory_file().unwrap(), &DiskChanges::default(), false).unwrap_err();
    assert!(error.message.starts_with("cannot restore a domain from `"), "{error}");
    vm.libvirt.destroy(&vm.name).unwrap();
    vm.libvirt.restore(snapshot.memory_file().unwrap(), &[vm.overlay("two", "disk")].into(), false).unwrap();
    assert_eq!((vm.state(), snapshot.memory_file().unwrap().exists()), (DomainState::Running, true));
    assert!(vm.libvirt.disk_images(&vm.name).unwrap().contains(&vm.image("two")));
    assert!(vm.libvirt.restore(&vm.directory.join("nothing"), &DiskChanges::default(), false).is_err());
}

#[test]
#[ignore = "needs QEMU"]
fn a_trial_of_what_can_be_done_with_ram_leaves_nothing_but_its_answer() {
    let vm = Vm::new();
    assert_eq!(vm.libvirt.liveness(None, &vm.directory).unwrap(), Liveness::Mapped);
    let names = |directory: &Path| {
        let entries = fs::read_dir(directory).unwrap().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    let mut files = names(&vm.directory);
    files.sort();
    assert_eq!(files, ["disk.qcow2", "live.json"]);
    let of_trial = live_trial::names(&vm.directory);
    let is_of_trial = |name: &String| of_trial.iter().any(|of_trial| name.starts_with(of_trial));
    assert_eq!(names(Path::new("/var/log/libvirt/qemu")).into_iter().find(is_of_trial), None);
    let domains = vm.libvirt.domains().unwrap();
    assert_eq!(domains.into_iter().map(|domain| domain.name).find(is_of_trial), None);
}

#[test]
#[ignore = "needs QEMU"]
fn a_disk_is_made_to_stand_alone_while_it_is_used_or_not() {
    let vm = Vm::new();
    fill(&vm.file("disk"), 7);
    let other = vm.overlay("other", "disk");
    vm.redefine(&vm.details().document, &[vm.overlay("used", "disk")].into());
    vm.libvirt.flatten(&other.file).unwrap();
    assert!(vm.libvirt.backing_chain(&other.image()).unwrap().is_empty() && is_filled(&other.file, 7));

    let error = vm.libvirt.pull(&vm.name, "vda", &soon()).unwrap_err();
    assert!(error.causes[0].contains("not running"), "{error}");
    vm.libvirt.start(&vm.name, Start::default()).unwrap();
    vm.libvirt.pull(&vm.name, "vda", &soon()).unwrap();
    vm.libvirt.pull(&vm.name, "vda", &soon()).unwrap();
    assert!(vm.libvirt.backing_chain(&vm.image("used")).unwrap().is_empty());
    assert!(vm.libvirt.pull(&vm.name, "vdz", &soon()).is_err());
    vm.libvirt.destroy(&vm.name).unwrap();
    assert!(is_filled(&vm.file("used"), 7));
}

#[test]
#[ignore = "needs QEMU"]
fn a_copy_that_is_stopped_leaves_the_chain_as_it_was() {
    let vm = Vm::new();
    let base = Image::new(vm.directory.join("base.raw"), "raw");
    fs::write(&base.file, vec![0xaa; 256 << 20]).unwrap();
    vm.libvirt.create_overlay(&vm.file("used"), &base).unwrap();
    let used = disk_xml::qcow2("vda", &vm.file("used"));
    vm.redefine(&vm.details().document, &[used].into());
    vm.libvirt.start(&vm.name, Start::default()).unwrap();
    let interrupt = Interrupt::default();
    interrupt.raise();
    let stop = Stop::after(Duration::from_secs(60), &interrupt);
    let error = vm.libvirt.pull(&vm.name, "vda", &stop).unwrap_err();
    assert_eq!(error.kind, crate::error::Kind::Interrupted);
    assert_eq!(vm.libvirt.backing_chain(&vm.image("used")).unwrap(), [base]);
    vm.libvirt.pull(&vm.name, "vda", &soon()).unwrap();
    assert!(vm.libvirt.backing_chain(&vm.image("used")).unwrap().is_empty());
}

#[test]
#[ignore = "needs QEMU"]
fn the_screen_of_a_running_domain_is_a_picture() {
    let vm = Vm::started();
    let (kind, picture) = vm.libvirt.screenshot(&vm.name).unwrap();
    assert!(kind == "image/png" && picture.starts_with(b"\x89PNG") && picture.len() > 100, "{kind}");
    vm.libvirt.shutdown(&vm.name).unwrap();
    vm.libvirt.destroy(&vm.name).unwrap();
    assert!(vm.libvirt.screenshot(&vm.name).is_err());
    assert!(vm.libvirt.version().unwrap() >= Version::new(9, 0, 0));
}

mod clones;
