//! Which files of domains that snaptree did not create survive `gc`, by whatever path something depends on them. No
//! domain is ever started here.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::foreign::{between, qemu_img};
use super::lab::Lab;

/// A domain without a guest whose snapshot `s2` is deleted: the layer of `s2` is to go.
struct Domain<'a> {
    lab: &'a Lab,
    name: String,
    directory: PathBuf,
    layer: PathBuf,
}

impl<'a> Domain<'a> {
    fn new(lab: &'a Lab) -> Self {
        Self::in_directory(lab, "real")
    }

    fn in_directory(lab: &'a Lab, named: &str) -> Self {
        let (directory, named) = (lab.store.join("real"), lab.store.join(named));
        fs::create_dir_all(&directory).unwrap();
        let name = format!("{}-a", lab.machine);
        let mut domain = Self { lab, name, directory, layer: PathBuf::new() };
        domain.image("disk.qcow2", None);
        domain.define(&domain.name, &named.join("disk.qcow2"));
        domain.write(1, &domain.disk());
        domain.snaptree(&["snapshot", &domain.name, "s1"]);
        domain.write(2, &domain.disk());
        domain.layer = domain.directory.join(domain.disk().file_name().unwrap());
        domain.snaptree(&["snapshot", &domain.name, "s2"]);
        domain
    }

    fn delete_s2(&self) {
        self.snaptree(&["revert", &format!("{}/s1", self.name), "--yes"]);
        self.snaptree(&["delete", &format!("{}/s2", self.name), "--yes"]);
    }

    fn define(&self, name: &str, disk: &Path) {
        define(self.lab, &[], name, disk, "");
    }

    /// Makes an image in the domain's directory.
    fn image(&self, name: &str, backing: Option<&str>) -> PathBuf {
        let file = self.directory.join(name);
        let backing = backing.map(|backing| vec!["-b", backing, "-F", "qcow2"]).unwrap_or_default();
        let size = if backing.is_empty() { &["1M"][..] } else { &[] };
        let arguments = [&["create", "-q", "-f", "qcow2"], &backing[..], &[file.to_str().unwrap()], size].concat();
        qemu_img(&arguments);
        file
    }

    fn disk(&self) -> PathBuf {
        let blocks = self.lab.virsh(&["domblklist", &self.name]);
        blocks.lines().find_map(|line| line.trim().strip_prefix("vda")).unwrap().trim().into()
    }

    fn write(&self, pattern: u8, image: &Path) {
        qemu_io(image, &format!("write -P {pattern} 0 64k"));
    }

    fn snaptree(&self, args: &[&str]) -> String {
        self.lab.snaptree(args).any_stdout().any_stderr().run().stderr
    }

    fn gc(&self) -> String {
        self.snaptree(&["gc", &self.name, "--yes"])
    }

    #[track_caller]
    fn assert_left(&self, why: &str) {
        let said = self.gc();
        let left = format!("Left `{}`: {why}.\n", self.layer.display());
        assert!(said.contains(&left), "{said}\ninstead of {left}");
        assert!(self.layer.exists());
    }
}

/// Defines a domain that never runs.
fn define(lab: &Lab, connection: &[&str], name: &str, disk: &Path, more: &str) {
    let xml = format!(
        "<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><os><type arch='x86_64'>hvm</type></os>\
         <devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{}'/>\
         <target dev='vda' bus='virtio'/></disk>{more}</devices></domain>",
        disk.display()
    );
    let file = lab.store.join("domain.xml");
    fs::write(&file, xml).unwrap();
    lab.virsh(&[connection, &["define", file.to_str().unwrap()]].concat());
    fs::remove_file(file).unwrap();
}

fn qemu_io(image: &Path, command: &str) {
    let output = Command::new("qemu-io").args(["-f", "qcow2", "-c", command]).arg(image).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && !said.contains("verification failed"), "{}: {said}", image.display());
}

#[test]
#[ignore = "needs QEMU"]
fn linked_clones_by_links_and_relative_names_keep_a_layer() {
    let lab = Lab::new("files-links");
    symlink("real", lab.store.join("images")).unwrap();
    fs::create_dir(lab.store.join("other")).unwrap();
    let domain = Domain::in_directory(&lab, "images");
    let layer = domain.layer.file_name().unwrap().to_str().unwrap();
    let backings = [
        ("../b", format!("{}/real/{layer}", lab.store.display())),
        ("../other/c", format!("../real/{layer}")),
        ("../other/d", format!("../other/../images/./{layer}")),
        (
            "../other/e",
            format!(
                "json:{{\"driver\":\"qcow2\",\"file\":{{\"driver\":\"file\",\"filename\":\"{}/images/{layer}\"}}}}",
                lab.store.display()
            ),
        ),
    ];
    let clones: Vec<PathBuf> = backings.iter().map(|(name, backing)| domain.image(name, Some(backing))).collect();
    domain.delete_s2();
    for (number, clone) in clones.iter().enumerate() {
        let name = format!("{}-clone{number}", lab.machine);
        domain.define(&name, clone);
        let said = domain.gc();
        let left = format!("Left `{}/images/{layer}`: domain `{name}` depends on it.\n", lab.store.display());
        assert!(said.contains(&left), "{said}\ninstead of {left}");
        qemu_io(clone, "read -P 2 0 64k");
        lab.virsh(&["undefine", &name]);
    }
    domain.snaptree(&["revert", &format!("{}/s1", domain.name), "--yes"]);
    qemu_io(&domain.disk(), "read -P 1 0 64k");
    // Nothing depends on it any more: no domain, and no image in the same directory.
    assert!(domain.gc().contains(&format!("Removed `{}/images/{layer}`", lab.store.display())));
    assert!(!domain.layer.exists());
}

#[test]
#[ignore = "needs QEMU"]
fn an_image_that_no_domain_knows_keeps_a_layer_and_so_does_a_damaged_one() {
    let lab = Lab::new("files-images");
    let domain = Domain::new(&lab);
    let layer = domain.layer.file_name().unwrap().to_str().unwrap().to_string();
    let theirs = domain.image("theirs.qcow2", Some(&layer));
    domain.delete_s2();
    domain.assert_left(&format!("`{}` depends on it", theirs.display()));
    qemu_io(&theirs, "read -P 2 0 64k");
    fs::remove_file(theirs).unwrap();
    for (format, name) in [("qed", "theirs.qed"), ("vmdk", "theirs.vmdk")] {
        let file = domain.directory.join(name);
        // A parent of a VMDK file has to be one.
        if format == "vmdk" {
            let text = format!("# Disk DescriptorFile\nversion=1\nparentFileNameHint=\"{layer}\"\n");
            fs::write(&file, text).unwrap();
        } else {
            qemu_img(&["create", "-q", "-f", format, "-b", &layer, "-F", "qcow2", file.to_str().unwrap()]);
        }
        domain.assert_left(&format!("`{}` depends on it", file.display()));
        fs::remove_file(file).unwrap();
    }
    let damaged = domain.directory.join("damaged.qcow2");
    fs::write(&damaged, "QFI\u{fb}").unwrap();
    fs::write(&damaged, b"QFI\xfb\0\0\0\x03").unwrap();
    domain.assert_left(&format!("`{}`, which cannot be read, may depend on it", damaged.display()));
    fs::remove_file(damaged).unwrap();
    fs::hard_link(&domain.layer, lab.store.join("other")).unwrap();
    domain.assert_left("it has another name, by a hard link");
    fs::remove_file(lab.store.join("other")).unwrap();
    domain.gc();
    assert!(!domain.layer.exists());
}

#[test]
#[ignore = "needs QEMU"]
fn a_domain_of_the_embedded_driver_keeps_a_layer() {
    let lab = Lab::new("files-embed");
    let domain = Domain::new(&lab);
    domain.delete_s2();
    let ran = lab.snaptree(&["--version"]).any_stdout().run();
    let root = ran.path().join("embed");
    let clone = domain.image("../b", Some(domain.layer.to_str().unwrap()));
    let uri = format!("qemu:///embed?root={}", root.display());
    define(&lab, &["-c", &uri], &format!("{}-embedded", lab.machine), &clone, "");
    let uri = "qemu:///embed?root=[DIR]/embed";
    domain.assert_left(&format!("domain `{}-embedded` of `{uri}` depends on it", lab.machine));
}

#[test]
#[ignore = "needs QEMU"]
fn what_virsh_made_stays_and_a_document_gets_no_file_removed() {
    let lab = Lab::new("files-virsh");
    let domain = Domain::new(&lab);
    let name = domain.name.as_str();
    lab.virsh(&["snapshot-create-as", name, "theirs", "--disk-only"]);
    let overlay = domain.disk();
    let hosts = domain.directory.join("hosts");
    fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let xml = lab.virsh(&["snapshot-dumpxml", name, "s2"]);
    let disks = between(&xml, "<disks>", "</disks>").unwrap();
    let named = between(disks, "<source file='", "'").unwrap();
    let changed = disks.replace(named, hosts.to_str().unwrap());
    let file = lab.store.join("snapshot.xml");
    fs::write(&file, xml.replace(disks, &changed)).unwrap();
    lab.virsh(&["snapshot-create", name, file.to_str().unwrap(), "--redefine"]);
    fs::remove_file(file).unwrap();

    domain.snaptree(&["revert", &format!("{name}/s1"), "--yes"]);
    domain.snaptree(&["delete", &format!("{name}/s2"), "--children", "--yes"]);
    let said = domain.gc();
    for file in [&overlay, &hosts] {
        let left = format!("Left `{}`: snaptree did not make it.\n", file.display());
        assert!(said.contains(&left), "{said}\ninstead of {left}");
        assert!(file.exists());
    }
    assert!(!said.contains("hosts` ("), "{said}");
    qemu_io(&overlay, "read -P 2 0 64k");
}

#[test]
#[ignore = "needs QEMU"]
fn a_deleted_snapshot_that_stays_inside_a_layer_is_told() {
    let lab = Lab::new("files-inside");
    let domain = Domain::new(&lab);
    let name = &domain.name;
    let holder = domain.disk();
    domain.snaptree(&["snapshot", name, "i1", "--internal"]);
    domain.snaptree(&["snapshot", name, "s3"]);
    domain.snaptree(&["delete", &format!("{name}/i1"), "--yes"]);
    let said = domain.gc();
    let left = format!(
        "Left `{}`: the internal snapshot `i1` stays inside it, since snapshot `s3` depends on the file.\n",
        holder.display()
    );
    assert!(said.contains(&left), "{said}\ninstead of {left}");
    assert!(qemu_img(&["snapshot", "-l", holder.to_str().unwrap()]).contains("i1"));
}

/// A directory that is mounted at another place.
struct Bound(PathBuf);

impl Drop for Bound {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status().unwrap();
        assert!(unmounted.success() || std::thread::panicking(), "cannot unmount {}", self.0.display());
    }
}

#[test]
#[ignore = "needs QEMU"]
fn a_clone_through_a_bind_mount_keeps_a_layer() {
    let lab = Lab::new("files-bound");
    let domain = Domain::new(&lab);
    let bound = lab.store.join("bound");
    fs::create_dir(&bound).unwrap();
    let mounted = Command::new("mount").arg("--bind").arg(&domain.directory).arg(&bound).output().unwrap();
    if !mounted.status.success() {
        assert!(!super::lab::is_root(), "{}", String::from_utf8_lossy(&mounted.stderr));
        return;
    }
    let _bound = Bound(bound.clone());
    let layer = bound.join(domain.layer.file_name().unwrap());
    let clone = domain.image("../b", Some(layer.to_str().unwrap()));
    let name = format!("{}-b", lab.machine);
    domain.define(&name, &clone);
    domain.delete_s2();
    domain.assert_left(&format!("domain `{name}` depends on it"));
}

#[test]
#[ignore = "needs QEMU"]
fn a_machine_on_whose_layer_another_domain_stands_is_not_deleted() {
    let lab = Lab::new("files-delete");
    lab.script("machine(MACHINE, { image = tiny {}, memory = '64MiB' }):root 'base'").any_stderr().run();
    let xml = lab.virsh(&["snapshot-dumpxml", &lab.machine, "base"]);
    let domain = &xml[xml.find("<domain ").unwrap()..];
    let layer = between(domain, "<source file='", "'").unwrap();
    let clone = lab.store.join("b.qcow2");
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", layer, "-F", "qcow2", clone.to_str().unwrap()]);
    let name = format!("{}-b", lab.machine);
    define(&lab, &[], &name, &clone, "");
    let (before, files) = (lab.virsh(&["dumpxml", &lab.machine]), lab.files());
    lab.snaptree(&["delete", &lab.machine, "--yes", "--force"])
        .status(1)
        .stderr(&format!(
            "error: cannot delete machine `{}`: domain `{name}` depends on `{layer}`\nhint: delete what depends on it \
             first, or make that stand alone: `qemu-img convert` copies an image whole\n",
            lab.machine
        ))
        .run();
    assert_eq!((lab.virsh(&["dumpxml", &lab.machine]), lab.files()), (before, files));
    let notes = Path::new(layer).with_file_name("notes.txt");
    fs::write(&notes, "mine").unwrap();
    lab.virsh(&["undefine", &name]);
    fs::remove_file(clone).unwrap();
    lab.snaptree(&["delete", &lab.machine, "--yes"])
        .stderr_contains(&format!("left `{}`: snaptree did not make it.\n", notes.display()))
        .run();
    let left: Vec<PathBuf> = lab.files().into_iter().filter(|file| file.starts_with(notes.parent().unwrap())).collect();
    assert_eq!(left, [notes]);
}
