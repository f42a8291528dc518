//! What other programs do to a domain between two commands of ours. Guests have no system.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::foreign::qemu_img;
use super::lab::Lab;

/// A domain without a guest that virsh made, with one disk.
struct Theirs<'a> {
    lab: &'a Lab,
    directory: PathBuf,
}

impl<'a> Theirs<'a> {
    fn new(lab: &'a Lab, source: &str, more: &str) -> Self {
        let theirs = Self { lab, directory: lab.store.join("theirs") };
        std::fs::create_dir_all(&theirs.directory).unwrap();
        let image = theirs.directory.join("a.qcow2");
        qemu_img(&["create", "-q", "-f", "qcow2", image.to_str().unwrap(), "8M"]);
        let xml = format!(
            "<domain type='qemu'><name>{}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
               <os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>
               <devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/>
                 <source file='{}'>{source}</source><target dev='vda' bus='virtio'/></disk>{more}
                 <memballoon model='none'/></devices></domain>",
            lab.machine,
            image.display()
        );
        let file = theirs.directory.join("domain.xml");
        std::fs::write(&file, xml).unwrap();
        lab.virsh(&["define", file.to_str().unwrap()]);
        theirs
    }

    fn virsh(&self, verb: &str, more: &[&str]) -> String {
        self.lab.virsh(&[&[verb, &self.lab.machine], more].concat())
    }

    fn state(&self) -> String {
        self.virsh("domstate", &[]).trim().to_string()
    }

    fn disk(&self) -> PathBuf {
        let blocks = self.virsh("domblklist", &[]);
        blocks.lines().find_map(|line| line.trim().strip_prefix("vda")).unwrap().trim().into()
    }

    fn write(&self, pattern: u8) {
        let said = io(&format!("write -P {pattern} 0 64k"), &self.disk());
        assert!(said.contains("wrote 65536/65536"), "{said}");
    }

    #[track_caller]
    fn assert_reads(&self, pattern: u8) {
        let said = io(&format!("read -P {pattern} 0 64k"), &self.disk());
        assert!(said.contains("read 65536/65536") && !said.contains("verification failed"), "{pattern}: {said}");
    }

    fn does(&self, verb: &str, snapshot: &str, more: &[&str]) {
        let path = format!("{}/{snapshot}", self.lab.machine);
        self.lab.snaptree(&[&[verb, &path], more].concat()).any_stdout().any_stderr().run();
    }

    fn snapshot(&self, name: &str, more: &[&str]) {
        self.lab.snaptree(&[&["snapshot", &self.lab.machine, name], more].concat()).any_stderr().run();
    }

    fn undo(&self) {
        self.lab.snaptree(&["undo", &self.lab.machine]).any_stderr().run();
    }

    #[track_caller]
    fn refuses(&self, arguments: &[&str], why: &str) {
        let all = |theirs: &Self| (theirs.virsh("dumpxml", &["--inactive"]), theirs.state(), theirs.lab.files());
        let before = all(self);
        let refused = self.lab.snaptree(arguments).status(1).any_stderr().run();
        assert!(refused.stderr.starts_with(&format!("error: {why}")), "{}", refused.stderr);
        assert_eq!(all(self), before);
    }
}

fn io(command: &str, image: &Path) -> String {
    let share = if command.starts_with("read") { &["-U", "-r"][..] } else { &[] };
    let output = Command::new("qemu-io").args(share).args(["-f", "qcow2", "-c", command]).arg(image).output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
#[ignore = "needs QEMU"]
fn a_guest_that_was_started_paused_goes_back_and_forth() {
    let lab = Lab::new("paused");
    let theirs = Theirs::new(&lab, "", "");
    theirs.virsh("start", &["--paused"]);
    theirs.snapshot("s1", &[]);
    let disk = theirs.disk();
    theirs.does("revert", "s1", &["--yes"]);
    assert_eq!(theirs.state(), "paused");
    assert_ne!(theirs.disk(), disk);
    theirs.undo();
    assert_eq!((theirs.state(), theirs.disk()), ("paused".to_string(), disk));
}

#[test]
#[ignore = "needs QEMU"]
fn a_layer_that_virsh_merged_into_is_not_gone_back_to() {
    let lab = Lab::new("merged");
    let theirs = Theirs::new(&lab, "", "");
    theirs.write(1);
    theirs.snapshot("s1", &[]);
    theirs.write(2);
    theirs.virsh("start", &["--paused"]);
    theirs.virsh("blockcommit", &["vda", "--active", "--pivot", "--wait"]);
    theirs.virsh("destroy", &[]);
    let path = format!("{}/s1", lab.machine);
    let why = format!("`{}` cannot go back to `s1`: `{}` writes to ", lab.machine, lab.machine);
    theirs.refuses(&["revert", &path, "--yes"], &why);
    theirs.assert_reads(2);
}

#[test]
#[ignore = "needs QEMU"]
fn what_was_below_an_undo_must_not_have_changed() {
    let lab = Lab::new("below");
    let theirs = Theirs::new(&lab, "", "");
    theirs.write(1);
    theirs.snapshot("s1", &[]);
    theirs.does("revert", "s1", &["--yes"]);
    let base = theirs.directory.join("a.qcow2");
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert!(io("write -P 7 0 64k", &base).contains("wrote 65536/65536"));
    let why =
        format!("cannot undo `revert to s1`: `{}`, which it needs, was written to or replaced since", base.display());
    theirs.refuses(&["undo", &lab.machine], &why);
}

#[test]
#[ignore = "needs QEMU"]
fn a_name_that_is_inside_a_disk_already_is_not_given_again() {
    let lab = Lab::new("tags");
    let theirs = Theirs::new(&lab, "", "");
    theirs.write(1);
    qemu_img(&["snapshot", "-c", "s1", theirs.disk().to_str().unwrap()]);
    let why = format!("no internal snapshot of `{}` can be named `s1`: `", lab.machine);
    theirs.refuses(&["snapshot", &lab.machine, "s1", "--internal"], &why);
    theirs.write(2);
    theirs.snapshot("s2", &["--internal"]);
    theirs.does("delete", "s2", &["--yes"]);
    theirs.write(3);
    theirs.snapshot("s2", &["--internal"]);
    theirs.write(4);
    theirs.does("revert", "s2", &["--yes"]);
    theirs.assert_reads(3);
}

#[test]
#[ignore = "needs QEMU"]
fn a_guest_whose_medium_is_gone_is_not_stopped() {
    let lab = Lab::new("medium");
    let medium = lab.store.join("1.iso");
    std::fs::write(&medium, vec![0; 1 << 20]).unwrap();
    let drive = format!(
        "<disk type='file' device='cdrom'><source file='{}'/><target dev='sda' bus='sata'/><readonly/></disk>",
        medium.display()
    );
    let theirs = Theirs::new(&lab, "", &drive);
    theirs.virsh("start", &[]);
    theirs.snapshot("s1", &[]);
    std::fs::remove_file(&medium).unwrap();
    let path = format!("{}/s1", lab.machine);
    let why =
        format!("`{}` cannot go back to `s1`: the file of disk `sda`, `{}`, is gone", lab.machine, medium.display());
    theirs.refuses(&["revert", &path, "--yes"], &why);
    assert_eq!(theirs.state(), "running");
    std::fs::write(&medium, vec![0; 1 << 20]).unwrap();
    theirs.does("revert", "s1", &["--yes"]);
    assert_eq!(theirs.state(), "running");
}

#[test]
#[ignore = "needs QEMU"]
fn a_disk_that_libvirt_must_not_give_to_qemu_starts_after_each_verb() {
    // Where the user's own daemon runs QEMU as the user, no owner ever changes.
    if !super::lab::is_root() {
        return;
    }
    let lab = Lab::new("labels");
    let theirs = Theirs::new(&lab, "<seclabel model='dac' relabel='no'/>", "");
    let qemu = std::fs::metadata("/var/lib/libvirt/qemu").unwrap();
    chown(theirs.disk(), Some(qemu.uid()), Some(qemu.gid())).unwrap();
    let starts = |when: &str| {
        theirs.virsh("start", &["--paused"]);
        assert_eq!(theirs.state(), "paused", "{when}");
        theirs.virsh("destroy", &[]);
    };
    starts("before");
    theirs.snapshot("s1", &[]);
    starts("after the snapshot");
    theirs.does("revert", "s1", &["--yes"]);
    starts("after the revert");
    theirs.undo();
    starts("after the undo");
}

#[test]
#[ignore = "needs QEMU"]
fn a_domain_that_is_renamed_keeps_its_undo() {
    let lab = Lab::new("renamed");
    let theirs = Theirs::new(&lab, "", "");
    theirs.write(1);
    theirs.snapshot("s1", &[]);
    theirs.write(2);
    theirs.does("revert", "s1", &["--yes"]);
    theirs.assert_reads(1);
    let other = format!("{}-other", lab.machine);
    lab.virsh(&["snapshot-delete", &lab.machine, "s1", "--metadata"]);
    lab.virsh(&["domrename", &lab.machine, &other]);
    lab.snaptree(&["undo", &other]).any_stderr().run();
    lab.virsh(&["domrename", &other, &lab.machine]);
    theirs.assert_reads(2);
}

#[test]
#[ignore = "needs QEMU"]
fn a_chain_is_never_guessed_from_what_a_guest_wrote() {
    let lab = Lab::new("guessed");
    let theirs = Theirs::new(&lab, "", "");
    let path = |name: &str| theirs.directory.join(name).display().to_string();
    // A raw disk on which a guest wrote the header of an image backed by a file of the host.
    qemu_img(&["create", "-q", "-f", "raw", &path("secret"), "1M"]);
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", &path("secret"), "-F", "raw", &path("base")]);
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", &path("base"), "-F", "raw", &path("top"), "8M"]);
    // As older programs make it: without the format of the backing file.
    let mut top = std::fs::read(path("top")).unwrap();
    let extension = 0xe279_2acau32.to_be_bytes();
    let at = top.windows(4).position(|bytes| bytes == extension).unwrap();
    top[at..at + 4].copy_from_slice(&0x0bad_0badu32.to_be_bytes());
    std::fs::write(path("top"), top).unwrap();
    let has_disk = |stated: &str| {
        let xml = format!(
            "<domain type='qemu'><name>{}</name><memory unit='MiB'>64</memory><os><type arch='x86_64'>hvm</type></os>
               <devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{}'/>{stated}
                 <target dev='vda' bus='virtio'/></disk></devices></domain>",
            lab.machine,
            path("top")
        );
        let file = theirs.directory.join("domain.xml");
        std::fs::write(
            &file,
            xml.replace("<name>", &format!("<uuid>{}</uuid><name>", theirs.virsh("domuuid", &[]).trim())),
        )
        .unwrap();
        lab.virsh(&["define", file.to_str().unwrap()]);
    };
    let untold = format!("`{}` does not tell the format of its backing file `{}`", path("top"), path("base"));
    let stated =
        format!("<backingStore type='file'><format type='raw'/><source file='{}'/></backingStore>", path("base"));
    let root = format!("machine.open('{}'):root('r')", lab.machine);
    for stated in ["", &stated] {
        has_disk(stated);
        let refused = lab.script(&root).status(1).any_stderr().run().stderr;
        assert!(refused.contains(&untold), "{refused}");
        let info = lab.snaptree(&["info", &lab.machine]).any_stdout().any_stderr().run();
        assert!(!info.stdout.contains("secret"), "{}", info.stdout);
        theirs.refuses(&["snapshot", &lab.machine, "s1"], "");
    }
}

#[test]
#[ignore = "needs QEMU"]
fn a_chain_that_the_description_states_otherwise_is_refused() {
    let lab = Lab::new("stated");
    let theirs = Theirs::new(&lab, "", "");
    theirs.write(7);
    let top = theirs.directory.join("top.qcow2");
    let (base, top) = (theirs.disk().display().to_string(), top.display().to_string());
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", &base, "-F", "qcow2", &top]);
    let xml = theirs.virsh("dumpxml", &["--inactive"]).replace(&base, &top);
    let file = theirs.directory.join("domain.xml");
    let stated = |stated: &str| {
        std::fs::write(&file, xml.replace("<target dev='vda'", &format!("{stated}<target dev='vda'"))).unwrap();
        lab.virsh(&["define", file.to_str().unwrap()]);
    };
    stated("<backingStore/>");
    theirs.refuses(
        &["snapshot", &lab.machine, "s1"],
        &format!(
            "no snapshot can hold disk `vda` of `{}`: its description puts nothing below `{top}`, and the image itself \
             `{base}` (qcow2)\nhint: leave it out: ",
            lab.machine
        ),
    );
    stated(&format!(
        "<backingStore type='file'><format type='qcow2'/><source file='{base}'/><backingStore/></backingStore>"
    ));
    theirs.snapshot("s1", &[]);
    theirs.does("revert", "s1", &["--yes"]);
    theirs.assert_reads(7);
    theirs.virsh("start", &["--paused"]);
}

#[test]
#[ignore = "needs QEMU"]
fn a_file_that_another_domain_writes_to_is_neither_frozen_nor_gone_back_to() {
    let lab = Lab::new("two-writers");
    let theirs = Theirs::new(&lab, "", "");
    theirs.write(1);
    let layer = theirs.disk();
    let other = format!("{}-other", lab.machine);
    let xml = theirs.virsh("dumpxml", &["--inactive"]);
    let uuid = theirs.virsh("domuuid", &[]);
    let file = theirs.directory.join("other.xml");
    let named = xml.replace(&format!("<name>{}<", lab.machine), &format!("<name>{other}<"));
    std::fs::write(&file, named.replace(&format!("<uuid>{}</uuid>", uuid.trim()), "")).unwrap();
    lab.virsh(&["define", file.to_str().unwrap()]);
    let writes = format!(
        "domain `{other}` writes to `{}`, the file of disk `vda`, too\nhint: give that domain another disk first: \
         `virsh edit {other}`\n",
        layer.display()
    );
    lab.virsh(&["start", "--paused", &other]);
    let why = format!("`{}` cannot have a snapshot: {writes}", lab.machine);
    theirs.refuses(&["snapshot", &lab.machine, "s1"], &why);
    lab.virsh(&["destroy", &other]);
    let said = lab.snaptree(&["snapshot", &lab.machine, "s1"]).any_stderr().run().stderr;
    let (noted, _) = writes.split_once('\n').unwrap();
    assert!(said.starts_with(&format!("the content of the snapshot may change: {noted}.\n")), "{said}");
    theirs.write(2);
    let why = format!("`{}` cannot go back to `s1`: {writes}", lab.machine);
    theirs.refuses(&["revert", &format!("{}/s1", lab.machine), "--yes"], &why);
    lab.virsh(&["undefine", &other]);
    theirs.does("revert", "s1", &["--yes"]);
    theirs.assert_reads(1);
}

#[test]
#[ignore = "needs QEMU"]
fn a_disk_that_the_domain_starts_without_is_refused_by_name_once_its_file_is_gone() {
    let lab = Lab::new("optional");
    let gone = lab.store.join("gone.img");
    let disk = format!(
        "<disk type='file' device='disk'><driver name='qemu' type='raw'/>
           <source file='{}' startupPolicy='optional'/><target dev='vdb' bus='virtio'/></disk>",
        gone.display()
    );
    let theirs = Theirs::new(&lab, "", &disk);
    theirs.refuses(
        &["snapshot", &lab.machine, "s1"],
        &format!(
            "no snapshot can hold disk `vdb` of `{}`: its file `{}` is gone\nhint: leave it out: `--diskspec vdb,",
            lab.machine,
            gone.display()
        ),
    );
    theirs.snapshot("s1", &["--diskspec", "vdb,snapshot=no"]);
}

#[test]
#[ignore = "needs QEMU"]
fn a_medium_that_makes_a_reader_wait_is_looked_at_all_the_same() {
    let lab = Lab::new("pipe");
    let pipe = lab.store.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let cdrom = format!(
        "<disk type='file' device='cdrom'><driver name='qemu' type='qcow2'/><source file='{}'/>
           <target dev='sda' bus='sata'/><readonly/></disk>",
        pipe.display()
    );
    Theirs::new(&lab, "", &cdrom);
    lab.snaptree(&["info", &lab.machine]).limit(std::time::Duration::from_secs(20)).any_stdout().any_stderr().run();
}
