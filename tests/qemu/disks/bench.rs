//! A machine with one disk of each kind, and what a guest would read from it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::MIB;
use crate::qemu::foreign::{between, qemu_img};
use crate::qemu::lab::Lab;

/// A disk `vdb` beside a plain `vda`, as a row of the table has it.
pub(super) struct Kind {
    /// The element, whole.
    pub(super) xml: String,
    /// Its file and format, where it has one.
    pub(super) image: Option<(PathBuf, &'static str)>,
}

pub(super) struct Bench<'a> {
    pub(super) lab: &'a Lab,
    pub(super) directory: PathBuf,
}

impl Bench<'_> {
    pub(super) fn new(lab: &Lab) -> Bench<'_> {
        let directory = lab.store.join("disks");
        std::fs::create_dir_all(&directory).unwrap();
        Bench { lab, directory }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Makes an image with `more` options of `qemu-img create`.
    pub(super) fn image(&self, name: &str, format: &str, more: &[&str]) -> PathBuf {
        let file = self.file(name);
        let create = [&["create", "-q", "-f", format][..], more, &[file.to_str().unwrap(), "8M"]].concat();
        qemu_img(&create);
        file
    }

    #[expect(clippy::too_many_lines, reason = "an arm for each row of the table")]
    pub(super) fn kind(&self, row: &str) -> Kind {
        let of_file = |file: PathBuf, format: &'static str, more: &str| {
            let xml = disk("file", "disk", format, &format!("<source file='{}'/>", file.display()), "vdb", more);
            Kind { xml, image: Some((file, format)) }
        };
        let raw = |more: &str| of_file(self.image("b.img", "raw", &[]), "raw", more);
        let made = |format, more: &[&str]| of_file(self.image("b.img", format, more), format, "");
        let no_file = |xml: String| Kind { xml, image: None };
        let option = |key: &str, name: &str, more: &str| format!("{key}={}{more}", self.file(name).display());
        match row {
            "raw file" => raw(""),
            "raw file with a qcow2 header that a guest wrote" => {
                let secret = self.file("secret");
                std::fs::write(&secret, [0x5e; 4096]).unwrap();
                let inner = self.file("inner");
                let (secret, inner_text) = (secret.to_str().unwrap(), inner.to_str().unwrap());
                qemu_img(&["create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", inner_text, "1M"]);
                let mut content = std::fs::read(&inner).unwrap();
                content.resize(8 * MIB as usize, 0);
                std::fs::write(self.file("b.img"), content).unwrap();
                of_file(self.file("b.img"), "raw", "")
            }
            "qcow2, compat 0.10" => made("qcow2", &["-o", "compat=0.10"]),
            "qcow2, clusters of 2 MiB" => made("qcow2", &["-o", "cluster_size=2M"]),
            "qcow2, extended L2 entries" => made("qcow2", &["-o", "extended_l2=on"]),
            "qcow2, compressed clusters" => {
                let plain = self.image("plain", "raw", &[]);
                std::fs::write(&plain, vec![9; 8 * MIB as usize]).unwrap();
                let file = self.file("b.img");
                qemu_img(&[
                    "convert",
                    "-c",
                    "-f",
                    "raw",
                    "-O",
                    "qcow2",
                    plain.to_str().unwrap(),
                    file.to_str().unwrap(),
                ]);
                of_file(file, "qcow2", "")
            }
            "qcow2 on a backing file with a relative name" => {
                self.image("base.img", "raw", &[]);
                made("qcow2", &["-b", "base.img", "-F", "raw"])
            }
            "qcow2 on a backing file whose format only the image's content tells" => {
                self.image("base.img", "raw", &[]);
                let kind = made("qcow2", &["-b", "base.img", "-F", "raw"]);
                let mut image = std::fs::read(self.file("b.img")).unwrap();
                let at = image.windows(4).position(|bytes| bytes == 0xe279_2acau32.to_be_bytes()).unwrap();
                image[at..at + 4].copy_from_slice(&0x0bad_0badu32.to_be_bytes());
                std::fs::write(self.file("b.img"), image).unwrap();
                kind
            }
            "qcow2 on a backing file that the domain states (`<backingStore>`)" => {
                let base = self.image("base.img", "raw", &[]);
                let mut kind = made("qcow2", &["-b", "base.img", "-F", "raw"]);
                let stated = format!(
                    "<backingStore type='file'><format type='raw'/><source file='{}'/></backingStore><target",
                    base.display()
                );
                kind.xml = kind.xml.replace("<target", &stated);
                kind
            }
            "qcow2 on a backing file that the domain denies (`<backingStore/>`)" => {
                self.image("base.img", "raw", &[]);
                let mut kind = made("qcow2", &["-b", "base.img", "-F", "raw"]);
                kind.xml = kind.xml.replace("<target", "<backingStore/><target");
                kind
            }
            "qcow2 with an external data file" => made("qcow2", &["-o", &option("data_file", "b.data", "")]),
            "qcow2 with a raw external data file" => {
                made("qcow2", &["-o", &option("data_file", "b.data", ",data_file_raw=on")])
            }
            "qcow2 with dirty bitmaps" => {
                let kind = made("qcow2", &[]);
                qemu_img(&["bitmap", "--add", self.file("b.img").to_str().unwrap(), "dirty"]);
                kind
            }
            "qcow2 with internal snapshots inside" => {
                let kind = made("qcow2", &[]);
                qemu_img(&["snapshot", "-c", "inside", self.file("b.img").to_str().unwrap()]);
                kind
            }
            "qed" => made("qed", &[]),
            "vdi" => made("vdi", &[]),
            "vmdk" => made("vmdk", &[]),
            // Its size is a whole number of cylinders otherwise.
            "vpc" => made("vpc", &["-o", "force_size=on"]),
            "file through a symbolic link" => {
                std::os::unix::fs::symlink(self.image("real.img", "raw", &[]), self.file("b.img")).unwrap();
                of_file(self.file("b.img"), "raw", "")
            }
            "qcow2, encrypted with LUKS" | "raw file, encrypted with LUKS" => {
                let format = if row.starts_with("raw") { "raw" } else { "qcow2" };
                let file = self.image("b.img", "raw", &[]);
                let secret = "<secret type='passphrase' uuid='c1f11a6d-8c5d-4a3e-ac7a-4e171c5e0d4a'/>";
                let source = format!(
                    "<source file='{}'><encryption format='luks'>{secret}</encryption></source>",
                    file.display()
                );
                Kind { xml: disk("file", "disk", format, &source, "vdb", ""), image: None }
            }
            "slice of a file" => {
                let file = self.image("b.img", "raw", &[]);
                let slice = "<slices><slice type='storage' offset='512' size='1048576'/></slices>";
                let source = format!("<source file='{}'>{slice}</source>", file.display());
                Kind { xml: disk("file", "disk", "raw", &source, "vdb", ""), image: None }
            }
            "block device" => no_file(disk("block", "disk", "raw", "<source dev='/dev/ram0'/>", "vdb", "")),
            "volume of a pool" => {
                no_file(disk("volume", "disk", "qcow2", "<source pool='images' volume='b.qcow2'/>", "vdb", ""))
            }
            "network" => {
                let source = "<source protocol='nbd' name='b'><host name='127.0.0.1' port='10809'/></source>";
                no_file(disk("network", "disk", "raw", source, "vdb", ""))
            }
            "vhost-user" => {
                let source = "<source type='unix' path='/run/absent/b.sock'/>";
                no_file(disk("vhostuser", "disk", "raw", source, "vdb", ""))
            }
            "read-only file" => raw("<readonly/>"),
            "shareable file" => raw("<shareable/>"),
            "transient file" => raw("<transient/>"),
            "file with `snapshot='no'`" | "file with `snapshot='manual'`" => {
                let mut kind = raw("");
                let policy = between(row, "`", "`").unwrap();
                kind.xml = kind.xml.replace("device='disk'", &format!("device='disk' {policy}"));
                kind
            }
            "CD-ROM with a medium" => {
                let file = self.image("b.iso", "raw", &[]);
                let source = format!("<source file='{}'/>", file.display());
                let xml = disk("file", "cdrom", "raw", &source, "hdb", "<readonly/>");
                Kind { xml, image: Some((file, "raw")) }
            }
            "CD-ROM without a medium" => no_file(disk("file", "cdrom", "raw", "", "hdb", "<readonly/>")),
            "CD-ROM whose medium is gone, with a startupPolicy" => {
                let source = format!("<source file='{}' startupPolicy='optional'/>", self.file("gone.iso").display());
                no_file(disk("file", "cdrom", "raw", &source, "hdb", "<readonly/>"))
            }
            "floppy with a medium" => {
                let file = self.image("b.img", "raw", &[]);
                let source = format!("<source file='{}'/>", file.display());
                Kind { xml: disk("file", "floppy", "raw", &source, "fda", ""), image: Some((file, "raw")) }
            }
            "floppy without a medium" => no_file(disk("file", "floppy", "raw", "", "fda", "")),
            other => panic!("no test knows the disk `{other}` of docs/disks.md"),
        }
    }

    pub(super) fn define(&self, kind: &Kind) -> Machine<'_> {
        let vda = self.image("a.qcow2", "qcow2", &[]);
        let vda = disk("file", "disk", "qcow2", &format!("<source file='{}'/>", vda.display()), "vda", "");
        let xml = format!(
            "<domain type='qemu'><name>{}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
               <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>
               <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>
               <devices>{vda}{}<memballoon model='none'/></devices></domain>",
            self.lab.machine, kind.xml
        );
        let file = self.file("domain.xml");
        std::fs::write(&file, xml).unwrap();
        self.lab.virsh(&["define", file.to_str().unwrap()]);
        std::fs::remove_file(file).unwrap();
        Machine(self)
    }
}

/// The domain of one row, which goes with all its files.
pub(super) struct Machine<'a>(pub(super) &'a Bench<'a>);

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        let lab = self.0.lab;
        lab.try_virsh(&["destroy", &lab.machine]);
        lab.try_virsh(&["undefine", &lab.machine, "--snapshots-metadata"]);
        let _ = std::fs::remove_dir_all(&lab.store);
        let _ = std::fs::create_dir_all(&self.0.directory);
    }
}

impl Machine<'_> {
    pub(super) fn xml(&self) -> String {
        self.0.lab.virsh(&["dumpxml", "--inactive", "--security-info", &self.0.lab.machine])
    }

    /// The file that a disk has now.
    pub(super) fn file(&self, target: &str) -> PathBuf {
        let list = self.0.lab.virsh(&["domblklist", &self.0.lab.machine]);
        let line = list.lines().find_map(|line| line.trim().strip_prefix(target)).unwrap();
        line.trim().into()
    }

    /// The element of a disk.
    pub(super) fn disk(&self, target: &str) -> String {
        let xml = self.xml();
        let disks = xml.split("<disk ").find(|disk| disk.contains(&format!("<target dev='{target}'"))).unwrap();
        disks[..disks.find("</disk>").unwrap()].to_string()
    }

    pub(super) fn does(&self, arguments: &[&str]) -> String {
        self.0.lab.snaptree(arguments).any_stdout().any_stderr().run().stderr
    }

    pub(super) fn snapshot(&self) -> String {
        format!("{}/s1", self.0.lab.machine)
    }

    pub(super) fn names(&self) -> BTreeSet<PathBuf> {
        self.0.lab.files().into_iter().collect()
    }
}

pub(super) fn disk(kind: &str, device: &str, format: &str, source: &str, target: &str, more: &str) -> String {
    let bus = match device {
        "cdrom" => "ide",
        "floppy" => "fdc",
        _ => "virtio",
    };
    format!(
        "<disk type='{kind}' device='{device}'><driver name='qemu' type='{format}'/>{source}\
         <target dev='{target}' bus='{bus}'/>{more}</disk>"
    )
}

pub(super) fn io(command: &str, file: &Path, format: &str) -> String {
    let output = std::process::Command::new("qemu-io").args(["-f", format, "-c", command]).arg(file).output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

pub(super) fn mark(pattern: u8, file: &Path, format: &str) {
    let said = io(&format!("write -P {pattern} 4M 64k"), file, format);
    assert!(said.contains("wrote 65536/65536"), "{said}");
}

/// The digest of all that a guest reads from a disk.
pub(super) fn content(file: &Path, format: &str) -> String {
    let raw = file.with_file_name("content.raw");
    qemu_img(&["convert", "-U", "-f", format, "-O", "raw", file.to_str().unwrap(), raw.to_str().unwrap()]);
    let digest = blake3::hash(&std::fs::read(&raw).unwrap()).to_string();
    std::fs::remove_file(raw).unwrap();
    digest
}
