//! Every kind of disk that `docs/disks.md` lists, in a snapshot, a revert and an undo.

// An unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

mod bench;

use std::path::{Path, PathBuf};

use super::foreign::{between, qemu_img};
use super::lab::Lab;
use crate::support::repository;
use bench::{Bench, Kind, Machine, content, disk, io, mark};

pub(super) const MIB: u64 = 1 << 20;
const WITHOUT: &str = "leave it out: `--diskspec vdb,snapshot=no`, in Lua `disks = { vdb = false }`";

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
