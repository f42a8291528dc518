//! Every kind of disk that `docs/disks.md` lists, in a snapshot, a revert and an undo.

// A test may end wherever something is not as it has to be.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::foreign::{between, qemu_img};
use super::lab::Lab;
use crate::support::repository;

const MIB: u64 = 1 << 20;
const WITHOUT: &str = "leave it out: `--diskspec vdb,snapshot=no`, in Lua `disks = { vdb = false }`";

/// A disk `vdb` beside a plain `vda`, as a row of the table has it.
struct Kind {
    /// The element, whole.
    xml: String,
    /// Its file and format, where it has one.
    image: Option<(PathBuf, &'static str)>,
}

struct Bench<'a> {
    lab: &'a Lab,
    directory: PathBuf,
}

impl Bench<'_> {
    fn new(lab: &Lab) -> Bench<'_> {
        let directory = lab.store.join("disks");
        std::fs::create_dir_all(&directory).unwrap();
        Bench { lab, directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Makes an image with `more` options of `qemu-img create`.
    fn image(&self, name: &str, format: &str, more: &[&str]) -> PathBuf {
        let file = self.file(name);
        let create = [&["create", "-q", "-f", format][..], more, &[file.to_str().unwrap(), "8M"]].concat();
        qemu_img(&create);
        file
    }

    fn kind(&self, row: &str) -> Kind {
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
                let source = "<source type='unix' path='/run/nobody/b.sock'/>";
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

    fn define(&self, kind: &Kind) -> Machine<'_> {
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
struct Machine<'a>(&'a Bench<'a>);

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
    fn xml(&self) -> String {
        self.0.lab.virsh(&["dumpxml", "--inactive", "--security-info", &self.0.lab.machine])
    }

    /// The file that a disk has now.
    fn file(&self, target: &str) -> PathBuf {
        let list = self.0.lab.virsh(&["domblklist", &self.0.lab.machine]);
        let line = list.lines().find_map(|line| line.trim().strip_prefix(target)).unwrap();
        line.trim().into()
    }

    /// The element of a disk.
    fn disk(&self, target: &str) -> String {
        let xml = self.xml();
        let disks = xml.split("<disk ").find(|disk| disk.contains(&format!("<target dev='{target}'"))).unwrap();
        disks[..disks.find("</disk>").unwrap()].to_string()
    }

    fn does(&self, arguments: &[&str]) -> String {
        self.0.lab.snaptree(arguments).any_stdout().any_stderr().run().stderr
    }

    fn snapshot(&self) -> String {
        format!("{}/s1", self.0.lab.machine)
    }

    fn names(&self) -> BTreeSet<PathBuf> {
        self.0.lab.files().into_iter().collect()
    }
}

fn disk(kind: &str, device: &str, format: &str, source: &str, target: &str, more: &str) -> String {
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

fn io(command: &str, file: &Path, format: &str) -> String {
    let output = std::process::Command::new("qemu-io").args(["-f", format, "-c", command]).arg(file).output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn mark(pattern: u8, file: &Path, format: &str) {
    let said = io(&format!("write -P {pattern} 4M 64k"), file, format);
    assert!(said.contains("wrote 65536/65536"), "{said}");
}

/// The digest of all that a guest reads from a disk.
fn content(file: &Path, format: &str) -> String {
    let raw = file.with_file_name("content.raw");
    qemu_img(&["convert", "-U", "-f", format, "-O", "raw", file.to_str().unwrap(), raw.to_str().unwrap()]);
    let digest = blake3::hash(&std::fs::read(&raw).unwrap()).to_string();
    std::fs::remove_file(raw).unwrap();
    digest
}

/// The rows of the table: the disk, what a snapshot does with it, and the reason.
fn rows() -> Vec<[String; 3]> {
    let text = std::fs::read_to_string(repository().join("docs/disks.md")).unwrap();
    let table = text.split("| disk | a snapshot | why |").nth(1).unwrap();
    let lines = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    lines
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            [cells[0], cells[1], cells[2]].map(str::to_string)
        })
        .collect()
}

#[test]
#[ignore = "needs QEMU"]
fn each_kind_of_disk_is_held_untouched_or_refused_as_the_table_says() {
    let rows = rows();
    assert!(rows.len() > 30, "{rows:?}");
    let lab = Lab::new("kinds");
    for [row, verdict, why] in &rows {
        let bench = Bench::new(&lab);
        let kind = bench.kind(row);
        if let Some((file, format)) = &kind.image {
            mark(1, file, format);
        }
        let machine = bench.define(&kind);
        match verdict.as_str() {
            "held" => is_held(&machine, &kind, row),
            "untouched" => is_untouched(&machine, &kind, row, why),
            "refused" => is_refused(&machine, row, why),
            other => panic!("`{row}`: {other}"),
        }
    }
}

fn is_held(machine: &Machine, kind: &Kind, row: &str) {
    let (file, format) = kind.image.as_ref().unwrap();
    let (before, bytes) = (content(file, format), blake3::hash(&std::fs::read(file).unwrap()));
    machine.does(&["snapshot", &machine.0.lab.machine, "s1"]);
    let overlay = machine.file("vdb");
    assert_eq!(content(&overlay, "qcow2"), before, "{row}: after the snapshot");
    mark(2, &overlay, "qcow2");
    let after = content(&overlay, "qcow2");
    assert_ne!(after, before, "{row}");
    machine.does(&["revert", &machine.snapshot(), "--yes"]);
    let info = qemu_img(&["info", "--output=json", machine.file("vdb").to_str().unwrap()]);
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(info["backing-filename-format"], *format, "{row}");
    assert_eq!(info["virtual-size"], 8 * MIB, "{row}");
    assert_eq!(content(&machine.file("vdb"), "qcow2"), before, "{row}: after the revert");
    machine.does(&["undo", &machine.0.lab.machine]);
    assert_eq!(machine.file("vdb"), overlay, "{row}");
    assert_eq!(content(&overlay, "qcow2"), after, "{row}: after the undo");
    assert_eq!(blake3::hash(&std::fs::read(file).unwrap()), bytes, "{row}: its layer was written to");
}

fn is_untouched(machine: &Machine, kind: &Kind, row: &str, why: &str) {
    let target = between(&kind.xml, "<target dev='", "'").unwrap();
    let before = machine.disk(target);
    let said = machine.does(&["snapshot", &machine.0.lab.machine, "s1"]);
    let note = format!("the snapshot leaves out disk `{target}` of `{}`: ", machine.0.lab.machine);
    assert_eq!(said.contains(&note), !why.is_empty(), "{row}: {said}");
    assert!(said.contains(why), "{row}: {said}");
    assert_eq!(machine.disk(target), before, "{row}: after the snapshot");
    let after = kind.image.as_ref().map(|(file, format)| {
        mark(2, file, format);
        content(file, format)
    });
    machine.does(&["revert", &machine.snapshot(), "--yes"]);
    assert_eq!(machine.disk(target), before, "{row}: after the revert");
    let now = kind.image.as_ref().map(|(file, format)| content(file, format));
    assert_eq!(now, after, "{row}: its content after the revert");
}

fn is_refused(machine: &Machine, row: &str, why: &str) {
    let name = &machine.0.lab.machine;
    let (xml, files, disk) = (machine.xml(), machine.names(), machine.disk("vdb"));
    let refused = machine.0.lab.snaptree(&["snapshot", name, "s1"]).status(1).any_stderr().run().stderr;
    let begin = format!("error: no snapshot can hold disk `vdb` of `{name}`: {why}");
    assert!(refused.starts_with(&begin) && refused.ends_with(&format!("{WITHOUT}\n")), "{row}: {refused}");
    assert_eq!((machine.xml(), machine.names()), (xml, files), "{row}: it changed");
    machine.does(&["snapshot", name, "s1", "--diskspec", "vdb,snapshot=no"]);
    machine.does(&["revert", &machine.snapshot(), "--yes"]);
    assert_eq!(machine.disk("vdb"), disk, "{row}: left out");
}

#[test]
#[ignore = "needs QEMU"]
fn a_disk_keeps_its_settings_when_its_file_changes() {
    let lab = Lab::new("settings");
    let bench = Bench::new(&lab);
    let file = bench.image("b.img", "qcow2", &[]);
    let settings = "<seclabel model='dac' relabel='no'/>";
    let source = format!("<source file='{}' startupPolicy='optional'>{settings}</source>", file.display());
    let xml = disk("file", "cdrom", "qcow2", "", "hdb", "<readonly/>")
        + &disk("file", "disk", "qcow2", &source.replace(" startupPolicy='optional'", ""), "vdb", "<serial>WD-1</serial>")
            .replace("type='qcow2'/>", "type='qcow2' cache='none' discard='unmap'><metadata_cache><max_size unit='bytes'>65536</max_size></metadata_cache></driver>");
    let machine = bench.define(&Kind { xml, image: None });
    let name = lab.machine.as_str();
    lab.virsh(&["desc", name, "--title", "theirs"]);
    let of_settings = |disk: String| {
        let file = between(&disk, "<source file='", "'").unwrap().to_string();
        disk.replace(&file, "FILE")
    };
    let before = of_settings(machine.disk("vdb"));
    assert!(before.contains("metadata_cache") && before.contains("seclabel"), "{before}");
    let is_kept = |when: &str| assert_eq!(of_settings(machine.disk("vdb")), before, "{when}");
    machine.does(&["snapshot", name, "s1"]);
    is_kept("after the snapshot");
    lab.virsh(&["desc", name, "--title", "theirs, changed"]);
    machine.does(&["revert", &machine.snapshot(), "--yes"]);
    is_kept("after the revert");
    assert_eq!(lab.virsh(&["desc", name, "--title"]).trim(), "theirs, changed");
    machine.does(&["undo", name]);
    is_kept("after the undo");
    machine.does(&["delete", &machine.snapshot(), "--yes"]);
    is_kept("after the deletion");
}

#[test]
#[ignore = "needs QEMU"]
fn what_only_the_running_domain_has_is_in_its_snapshots_and_shown() {
    let lab = Lab::new("running");
    let bench = Bench::new(&lab);
    let (first, second) = (bench.image("1.iso", "raw", &[]), bench.image("2.iso", "raw", &[]));
    let xml = disk("file", "cdrom", "raw", &format!("<source file='{}'/>", first.display()), "hdb", "<readonly/>");
    let machine = bench.define(&Kind { xml, image: None });
    let name = lab.machine.as_str();
    let (live, next) = (bench.image("b.qcow2", "qcow2", &[]), bench.image("c.qcow2", "qcow2", &[]));
    mark(1, &live, "qcow2");
    lab.virsh(&["start", name]);
    let attach = |file: &Path, target: &str, when: &str| {
        lab.virsh(&["attach-disk", name, file.to_str().unwrap(), target, "--subdriver", "qcow2", when]);
    };
    attach(&live, "vdb", "--live");
    attach(&next, "vdc", "--config");
    lab.virsh(&["change-media", name, "hdb", second.to_str().unwrap(), "--live"]);
    let info: serde_json::Value =
        serde_json::from_str(&lab.snaptree(&["info", name, "--json"]).any_stdout().run().stdout).unwrap();
    let shown = |target: &str, field: &str| {
        let disks = info["disks"].as_array().unwrap();
        disks.iter().find(|disk| disk["target"] == target).unwrap()[field].clone()
    };
    assert_eq!((shown("vdb", "only"), shown("vdc", "only")), ("running".into(), "next_start".into()));
    assert_eq!(shown("hdb", "source"), second.to_str().unwrap());
    assert_eq!(shown("hdb", "next_source"), first.to_str().unwrap());

    machine.does(&["snapshot", name, "ram"]);
    machine.does(&["snapshot", name, "s1", "--disk-only"]);
    let (ours, medium) = (machine.file("vdb"), machine.file("hdb"));
    assert_ne!(ours, live);
    machine.does(&["revert", &format!("{name}/ram"), "--yes"]);
    assert_eq!((lab.virsh(&["domstate", name]).trim(), machine.file("hdb")), ("running", medium.clone()));
    let now = machine.file("vdb");
    assert!(now != ours && now != live, "{now:?}");
    assert_eq!(super::foreign::chain(&now), [now.clone(), live.clone()]);
    machine.does(&["undo", name]);
    assert_eq!((lab.virsh(&["domstate", name]).trim(), machine.file("vdb")), ("running", ours.clone()));

    let layer = super::foreign::chain(&ours)[1].clone();
    let files = machine.names();
    let said = machine.does(&["revert", &machine.snapshot(), "--yes"]);
    let note = format!(
        "`{name}` does not start with disk `vdb`, which was attached while it ran: its layer is `{}`",
        layer.display()
    );
    assert!(said.contains(&note), "{said}");
    let list = lab.virsh(&["domblklist", name]);
    assert!(!list.contains("vdb") && list.contains("vdc"), "{list}");
    let made: Vec<PathBuf> = machine.names().difference(&files).cloned().collect();
    assert_eq!(made.iter().filter(|file| file.extension().is_some_and(|it| it == "qcow2")).count(), 1, "{made:?}");
    machine.does(&["undo", name]);
    assert_eq!((lab.virsh(&["domstate", name]).trim(), machine.file("vdb")), ("running", ours));

    machine.does(&["revert", &machine.snapshot(), "--running", "--yes"]);
    assert_eq!(lab.virsh(&["domstate", name]).trim(), "running");
    let attached = machine.file("vdb");
    assert_eq!(super::foreign::chain(&attached)[1], layer);
    machine.does(&["undo", name]);
}

#[test]
#[ignore = "needs QEMU"]
fn a_block_job_and_backup_checkpoints_are_not_disturbed() {
    let lab = Lab::new("jobs");
    let bench = Bench::new(&lab);
    let file = bench.image("b.img", "qcow2", &[]);
    let xml = disk("file", "disk", "qcow2", &format!("<source file='{}'/>", file.display()), "vdb", "");
    let machine = bench.define(&Kind { xml, image: None });
    let name = lab.machine.as_str();
    lab.virsh(&["start", name, "--paused"]);
    machine.does(&["snapshot", name, "s1", "--disk-only"]);
    lab.virsh(&["checkpoint-create-as", name, "c1"]);
    let copy = bench.file("copy.qcow2");
    lab.virsh(&["blockcopy", name, "vdb", copy.to_str().unwrap(), "--transient-job"]);
    let (xml, files) = (machine.xml(), machine.names());
    let hint = format!("hint: `virsh blockjob {name} vdb` shows it, with `--abort` it ends\n");
    lab.snaptree(&["snapshot", name, "s2", "--disk-only"])
        .status(1)
        .stderr(&format!("error: no snapshot can hold disk `vdb` of `{name}`: it has a block job\n{hint}"))
        .run();
    lab.snaptree(&["revert", &machine.snapshot(), "--yes"])
        .status(1)
        .stderr(&format!("error: `{name}` cannot go back to `s1`: disk `vdb` has a block job\n{hint}"))
        .run();
    assert_eq!((machine.xml(), machine.names()), (xml, files));
    lab.virsh(&["blockjob", name, "vdb", "--abort"]);
    lab.virsh(&["destroy", name]);
    machine.does(&["revert", &machine.snapshot(), "--yes"]);
    machine.does(&["undo", name]);
    assert_eq!(lab.virsh(&["checkpoint-list", name, "--name"]).trim(), "c1");
    lab.virsh(&["checkpoint-delete", name, "c1", "--metadata"]);
}

#[test]
#[ignore = "needs QEMU"]
fn going_back_inside_a_disk_changes_no_label_of_the_domain() {
    let lab = Lab::new("inside");
    let bench = Bench::new(&lab);
    let xml = disk("file", "cdrom", "raw", "", "hdb", "<readonly/>");
    let machine = bench.define(&Kind { xml, image: None });
    let name = lab.machine.as_str();
    let image = machine.file("vda");
    mark(1, &image, "qcow2");
    machine.does(&["snapshot", name, "s1", "--internal"]);
    mark(2, &image, "qcow2");
    lab.virsh(&["desc", name, "--title", "since then"]);
    machine.does(&["revert", &machine.snapshot(), "--yes"]);
    assert_eq!(machine.file("vda"), image);
    assert_eq!(lab.virsh(&["desc", name, "--title"]).trim(), "since then");
    let read = io("read -P 1 4M 64k", &image, "qcow2");
    assert!(read.contains("read 65536/65536") && !read.contains("verification failed"), "{read}");
}
