//! Names and paths that libvirt's or QEMU's own tools take for something else.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use super::foreign::qemu_img;
use super::lab::Lab;
use crate::support::Test;

/// A domain of 64 MiB without a system, with a qcow2 file for each disk.
struct Bare<'a> {
    lab: &'a Lab,
    name: String,
    disks: Vec<PathBuf>,
}

impl<'a> Bare<'a> {
    fn new(lab: &'a Lab, name: &str, files: &[&str]) -> Self {
        let disks: Vec<PathBuf> = files.iter().map(|file| lab.store.join(file)).collect();
        let mut devices = String::new();
        for (disk, target) in disks.iter().zip(["vda", "vdb"]) {
            qemu_img(&["create", "-q", "-f", "qcow2", disk.to_str().unwrap(), "1M"]);
            devices += &format!(
                "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{}'/>
                   <target dev='{target}' bus='virtio'/></disk>",
                escaped(disk.to_str().unwrap())
            );
        }
        let name = format!("{}{name}", lab.machine);
        let xml = format!(
            "<domain type='qemu'><name>{}</name><memory unit='MiB'>64</memory>
               <os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features>
               <devices>{devices}<memballoon model='none'/></devices></domain>",
            escaped(&name)
        );
        let file = lab.store.join("domain.xml");
        std::fs::write(&file, xml).unwrap();
        lab.virsh(&["define", file.to_str().unwrap()]);
        Self { lab, name, disks }
    }

    fn snaptree(&self, args: &[&str]) {
        self.lab.snaptree(args).any_stdout().any_stderr().run();
    }

    fn revert(&self, snapshot: &str) {
        self.snaptree(&["revert", "--yes", "--", &format!("{}/{snapshot}", self.name)]);
    }

    fn virsh(&self, args: &[&str]) {
        self.lab.virsh(&[&[args[0], "--domain", &self.name], &args[1..]].concat());
    }

    /// The file that a disk has now.
    fn present(&self, disk: usize) -> PathBuf {
        let xml = self.lab.virsh(&["dumpxml", "--inactive", "--domain", &self.name]);
        let source = xml.split("<source file='").nth(disk + 1).unwrap().split('\'').next().unwrap();
        let plain = source.replace("&apos;", "'").replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">");
        plain.replace("&amp;", "&").into()
    }

    /// Writes something to all disks of the domain, which is off.
    fn fill(&self, byte: u8) {
        (0..self.disks.len()).for_each(|disk| drop(qemu_io(&self.present(disk), &format!("write -P {byte} 0 64k"))));
    }

    #[track_caller]
    fn assert_filled(&self, byte: u8, when: &str) {
        for disk in 0..self.disks.len() {
            let read = qemu_io(&self.present(disk), &format!("read -P {byte} 0 64k"));
            assert!(read.contains("read 65536/65536") && !read.contains("failed"), "{when}, disk {disk}: {read}");
        }
    }
}

fn escaped(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    escaped.replace('\'', "&apos;").replace('"', "&quot;")
}

fn qemu_io(image: &Path, command: &str) -> String {
    let mode: &[&str] = if command.starts_with("read") { &["-r", "-U"] } else { &[] };
    let output = Command::new("qemu-io").args(mode).args(["-f", "qcow2", "-c", command]).arg(image).output().unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
#[ignore = "needs QEMU"]
fn a_revert_goes_to_the_internal_snapshot_of_that_name_whatever_its_id_is() {
    let lab = Lab::new("ids-of-disks");
    let bare = Bare::new(&lab, "", &["a.qcow2", "b.qcow2"]);
    // The ids of the second disk's snapshots are others than the first one's.
    qemu_img(&["snapshot", "-c", "before", bare.disks[1].to_str().unwrap()]);
    let names = ["2", "1", "3", "-pre", "snapshot.id=1"];
    for (name, byte) in names.iter().zip(1..) {
        bare.fill(byte);
        bare.virsh(&["snapshot-create-as", &format!("--name={name}")]);
    }
    bare.fill(9);
    for (name, byte) in names.iter().zip(1..) {
        bare.revert(name);
        bare.assert_filled(byte, name);
        bare.snaptree(&["undo", &bare.name]);
        bare.assert_filled(9, &format!("undone {name}"));
    }
    bare.snaptree(&["delete", "--yes", &format!("{}/1", bare.name)]);
    bare.snaptree(&["gc", "--yes", &bare.name]);
    for (name, byte) in names.iter().zip(1..).filter(|(name, _)| **name != "1") {
        bare.revert(name);
        bare.assert_filled(byte, &format!("{name} after a deletion"));
    }
    // libvirt's own deletion fails while QEMU runs, as a job cannot have every name.
    bare.virsh(&["start", "--paused"]);
    bare.snaptree(&["delete", "--yes", &format!("{}/snapshot.id=1", bare.name)]);
    bare.snaptree(&["gc", "--yes", &bare.name]);
    for disk in &bare.disks {
        let held = qemu_img(&["info", "-U", "--output=json", disk.to_str().unwrap()]);
        let held: serde_json::Value = serde_json::from_str(&held).unwrap();
        let mut held: Vec<&str> =
            held["snapshots"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
        held.retain(|name| *name != "before");
        assert_eq!(held, ["2", "3", "-pre"]);
    }
}

#[test]
#[ignore = "needs QEMU"]
fn a_snapshot_that_libvirt_named_can_be_used_whatever_its_name_is() {
    let lab = Lab::new("odd-names");
    let bare = Bare::new(&lab, "", &["a.qcow2"]);
    let names = ["cr\rx", "two\nlines\t", " outer ", "c1\u{9b}31m", "%d..%s", "日本 'q' \"<&>`$(x)", &"x".repeat(247)];
    for (name, byte) in names.iter().zip(1..) {
        bare.fill(byte);
        let file = lab.store.join("snapshot.xml");
        let reference = |c: char| if c.is_control() { format!("&#{};", u32::from(c)) } else { c.to_string() };
        let name: String = escaped(name).chars().map(reference).collect();
        std::fs::write(&file, format!("<domainsnapshot><name>{name}</name></domainsnapshot>")).unwrap();
        bare.virsh(&["snapshot-create", file.to_str().unwrap()]);
    }
    bare.fill(9);
    let list = || lab.snaptree(&["list", "--json", &bare.name]).any_stdout().run().stdout;
    let before = list();
    for (name, byte) in names.iter().zip(1..) {
        bare.revert(name);
        bare.assert_filled(byte, name);
        bare.snaptree(&["undo", &bare.name]);
        bare.assert_filled(9, name);
        bare.snaptree(&["delete", "--yes", "--", &format!("{}/{name}", bare.name)]);
        bare.snaptree(&["undo", &bare.name]);
        assert_eq!(list(), before, "{name:?}");
    }
}

#[test]
#[ignore = "needs QEMU"]
fn a_revert_goes_to_the_ram_of_that_name_too() {
    let lab = Lab::new("ids-of-ram");
    let bare = Bare::new(&lab, "", &["a.qcow2"]);
    for (name, byte) in ["2", "1"].iter().zip(1..) {
        bare.fill(byte);
        bare.virsh(&["start", "--paused"]);
        bare.virsh(&["snapshot-create-as", &format!("--name={name}")]);
        bare.virsh(&["destroy"]);
    }
    for (name, byte) in ["2", "1", "2"].iter().zip([1, 2, 1]) {
        bare.revert(name);
        bare.assert_filled(byte, name);
        assert_eq!(lab.virsh(&["domstate", &bare.name]).trim(), "paused");
    }
}

#[test]
#[ignore = "needs QEMU"]
fn a_disk_may_lie_under_any_path_that_libvirt_carries() {
    let lab = Lab::new("paths");
    let long = "x".repeat(255);
    let files = ["a:b.qcow2", "-x", "a b,,c=d.qcow2", "it's \"<&>\".qcow2", "%41%", "nbd:x", "json:{}", "日本", &long];
    for (number, file) in files.iter().enumerate() {
        let bare = Bare::new(&lab, &format!("-{number}"), &[file]);
        bare.fill(1);
        bare.snaptree(&["snapshot", &bare.name, "v1.0"]);
        bare.fill(2);
        bare.snaptree(&["snapshot", &bare.name, "v1.1"]);
        bare.fill(3);
        let stem = bare.present(0).file_stem().unwrap().to_owned();
        bare.revert("v1.0");
        bare.assert_filled(1, file);
        bare.snaptree(&["undo", &bare.name]);
        bare.assert_filled(3, file);
        bare.snaptree(&["snapshot", &bare.name, "v1.2"]);
        assert_eq!(bare.present(0).file_stem().unwrap(), stem, "it grows");
        bare.virsh(&["start", "--paused"]);
        bare.virsh(&["destroy"]);
    }
}

#[test]
#[ignore = "needs QEMU"]
fn a_machine_with_a_long_name_below_an_odd_path_has_live_forks() {
    let lab = Lab::new("long");
    let machine = format!("{}{}", lab.machine, "-".repeat(247 - lab.machine.len()));
    let in_store = |test: Test| {
        test.env("SNAPTREE_STORE", lab.store.join("st ore,offset=5:%41'\"<&>")).any_stdout().any_stderr().run().stdout
    };
    let script = "machine(MACHINE, { image = tiny {}, memory = '128MiB' }):root 'base':branch('-x', function(g)
      g:run 'echo hi > /run/here'
    end)";
    in_store(lab.script(&script.replace("MACHINE", &format!("'{machine}'"))));
    let path = format!("{machine}/-x");
    let json = in_store(lab.snaptree(&["fork", "--json", "--require-live", &path]));
    let forks: serde_json::Value = serde_json::from_str(&json).unwrap();
    let fork = forks[0]["name"].as_str().unwrap();
    let (beginning, _) = fork.split_once('~').unwrap();
    assert!(fork.len() <= 247 && beginning.len() > 150 && machine.starts_with(beginning), "{fork}");
    let info = in_store(lab.snaptree(&["info", &machine]));
    assert!(info.contains(fork), "{info}");
    in_store(lab.snaptree(&["stop", &machine]));
    assert_eq!(lab.domains(), [machine.as_str()]);
    in_store(lab.snaptree(&["delete", "--yes", &machine]));
    assert_eq!(lab.domains(), Vec::<String>::new());
}

#[test]
#[ignore = "needs QEMU"]
fn a_machine_may_have_a_long_name_of_any_script() {
    let mut lab = Lab::new("script");
    lab.machine = format!("{}-{}", "語".repeat(20), lab.machine);
    lab.script("machine(MACHINE, { image = tiny {}, memory = '128MiB' }):root 'base'").any_stderr().run();
    // libvirt has the first characters of the name in the paths of sockets.
    lab.virsh(&["start", "--paused", &lab.machine]);
    lab.virsh(&["destroy", &lab.machine]);
    lab.snaptree(&["delete", "--yes", &lab.machine]).any_stderr().run();
}
