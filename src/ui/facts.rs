//! One machine or snapshot in full, one fact per line, as `virsh snapshot-info` prints them.

use super::words::{or_dash, size, time, yes_or_no};
use crate::tree::{Checkup, DiskInfo, FileInfo, MachineInfo, Only, Restores, SnapshotDiskInfo, SnapshotInfo};

/// The column where the values begin.
const COLUMN: usize = 16;

/// Lines of facts.
#[derive(Default)]
struct Facts(String);

impl Facts {
    /// Adds a fact; further lines of its value go below the first one.
    fn add(&mut self, name: &str, value: impl AsRef<str>) {
        let mut lines = value.as_ref().lines();
        let first = lines.next().unwrap_or("-");
        self.line(&format!("{:<COLUMN$}{first}", format!("{name}: ")));
        lines.for_each(|line| self.below(line));
    }

    fn below(&mut self, line: &str) {
        self.line(&format!("{:COLUMN$}{line}", ""));
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line.trim_end());
        self.0.push('\n');
    }

    /// Adds a backing chain: the depth, size and path of each file.
    fn chain(&mut self, chain: &[FileInfo]) {
        let sizes: Vec<String> =
            chain.iter().map(|file| file.size.map_or_else(|| "missing".to_string(), size)).collect();
        let width = sizes.iter().map(String::len).max().unwrap_or(0);
        let depths = chain.len().saturating_sub(1).to_string().len();
        for (depth, (file, size)) in chain.iter().zip(sizes).enumerate() {
            self.below(&format!("{depth:>depths$}  {size:>width$}  {}", file.path.display()));
        }
    }
}

/// Writes the results of a check of the host.
pub fn checkup(checkup: &Checkup) -> String {
    let mut facts = Facts::default();
    let mut add = |name: &str, is: &str, because: Option<&str>| {
        facts.add(name, is);
        because.into_iter().for_each(|because| facts.below(&format!("because {because}")));
    };
    add("Connection", &checkup.connection, None);
    add("libvirt", &checkup.libvirt, None);
    add("Emulator", &checkup.emulator, None);
    add("Accelerator", checkup.accelerator.is, checkup.accelerator.because.as_deref());
    let live = match checkup.live.is {
        "mapped" => "mapped: RAM is in a file that guests map, and is never copied to make a fork",
        "saved" => "saved: libvirt writes the RAM to a file, and reads it for each fork",
        _ => "no: snapshots contain only disks, and forks boot",
    };
    add("Live snapshots", live, checkup.live.because.as_deref());
    if let Some(reaping) = &checkup.reaping {
        add("Reaping", reaping.is.as_str(), Some(&reaping.because));
        reaping.hint.iter().for_each(|hint| facts.below(&format!("hint: {hint}")));
    }
    facts.add("Store", checkup.store.display().to_string());
    facts.0
}

/// Writes a machine's facts.
pub fn machine(info: &MachineInfo) -> String {
    let machine = &info.machine;
    let mut facts = Facts::default();
    facts.add("Name", &machine.name);
    facts.add("UUID", &machine.uuid);
    facts.add("State", &machine.state);
    facts.add("Persistent", yes_or_no(machine.persistent));
    facts.add("Made by", if machine.ours { "snaptree" } else { "another tool" });
    facts.add("CPUs", info.cpus.to_string());
    facts.add("Memory", size(info.memory));
    facts.add("Snapshots", machine.snapshots.to_string());
    facts.add("Current", or_dash(machine.current.as_deref()));
    info.disks.iter().for_each(|disk| add_disk(&mut facts, disk));
    for entry in &info.undo {
        facts.add(&format!("Undo {}", entry.number), format!("{}, {}", entry.what, time(entry.created)));
    }
    for failed in &info.failed {
        facts.add("Failed", format!("{}, {}\n{}", failed.name, time(failed.when), failed.error));
    }
    for fork in &info.forks {
        let memory = fork.memory.map(|memory| format!(", {} of its own", size(memory))).unwrap_or_default();
        facts.add("Fork", format!("{}\nof {}{memory}", fork.name, fork.of));
    }
    facts.0
}

fn add_disk(facts: &mut Facts, disk: &DiskInfo) {
    let read_only = if disk.read_only { ", read-only" } else { "" };
    let only = match disk.only {
        Some(Only::Running) => ", until it stops",
        Some(Only::NextStart) => ", from the next start on",
        None => "",
    };
    facts.add(&format!("Disk {}", disk.target), format!("{}, {}{read_only}{only}", disk.device, disk.format));
    if disk.chain.is_empty() {
        facts.below(disk.source.as_deref().unwrap_or("empty"));
    }
    facts.chain(&disk.chain);
    if let Some(next) = &disk.next_source {
        facts.below(&format!("next start: {}", if next.is_empty() { "empty" } else { next }));
    }
    if let Some(why) = &disk.left_out {
        facts.below(&format!("left out of snapshots: {why}"));
    }
}

/// Writes a snapshot's facts.
pub fn snapshot(info: &SnapshotInfo) -> String {
    let mut facts = Facts::default();
    facts.add("Name", &info.snapshot.name);
    facts.add("Machine", &info.machine);
    facts.add("Current", yes_or_no(info.snapshot.current));
    facts.add("State", &info.snapshot.state);
    facts.add("Kind", info.snapshot.kind.as_str());
    facts.add("Parent", or_dash(info.snapshot.parent.as_deref()));
    facts.add("Children", children(&info.children));
    facts.add("Descendants", info.descendants.to_string());
    facts.add("Created", time(info.snapshot.created));
    facts.add("Comment", &info.snapshot.comment);
    facts.add("Key", or_dash(info.snapshot.key.as_deref()));
    facts.add("Size", size(info.size));
    facts.add("RAM", ram(info));
    if info.restores.guests > 0 {
        facts.add("Resumed", resumed(&info.restores));
    }
    info.disks.iter().for_each(|disk| add_snapshot_disk(&mut facts, disk));
    facts.0
}

fn children(names: &[String]) -> String {
    match names.len() {
        0 => "0".to_string(),
        count => format!("{count} ({})", names.join(", ")),
    }
}

fn ram(info: &SnapshotInfo) -> String {
    match &info.memory {
        Some(file) => file.display().to_string(),
        None if info.snapshot.live => "internal".to_string(),
        None => "-".to_string(),
    }
}

fn resumed(restores: &Restores) -> String {
    let Restores { guests, clocks, generations, identities } = restores;
    format!("{guests} (clock set {clocks}, generation id renewed {generations}, identity renewed {identities})")
}

fn add_snapshot_disk(facts: &mut Facts, disk: &SnapshotDiskInfo) {
    let kind = disk.kind.map_or("left out", |kind| kind.as_str());
    facts.add(&format!("Disk {}", disk.target), kind);
    facts.chain(&disk.chain);
    if let Some(overlay) = &disk.overlay {
        facts.below(&format!("overlay: {}", overlay.display()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::{Promptness, Reaping, SnapshotKind};
    use crate::tree::SnapshotView;
    use crate::tree::{FailedView, ForkInfo, MachineView, UndoView};

    fn file(path: &str, size: Option<u64>) -> FileInfo {
        FileInfo { path: path.into(), size }
    }

    #[test]
    fn what_doctor_found_has_its_reasons_and_what_to_do() {
        let finding = |is| crate::tree::Finding { is, because: None };
        let mut found = Checkup {
            connection: "qemu:///system".into(),
            libvirt: "11.3.0".into(),
            emulator: "qemu 10.0.2".into(),
            accelerator: finding("KVM"),
            live: finding("saved"),
            reaping: Some(Reaping {
                is: Promptness::Late,
                because: "process 1 is slow".into(),
                hint: Some("start another".into()),
            }),
            store: "/store".into(),
        };
        let before = "\
Connection:     qemu:///system
libvirt:        11.3.0
Emulator:       qemu 10.0.2
Accelerator:    KVM
Live snapshots: saved: libvirt writes the RAM to a file, and reads it for each fork
";
        let reaping = "\
Reaping:        late
                because process 1 is slow
                hint: start another
";
        assert_eq!(checkup(&found), format!("{before}{reaping}Store:          /store\n"));
        found.reaping = None;
        assert_eq!(checkup(&found), format!("{before}Store:          /store\n"));
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one picture of everything that is shown")]
    fn a_machine_has_its_disks_with_what_they_stand_on() {
        let disk = |target: &str, device: &str, read_only, chain| DiskInfo {
            target: target.into(),
            device: device.into(),
            source: None,
            format: "qcow2".into(),
            read_only,
            only: (target == "sda").then_some(Only::Running),
            next_source: (target == "vda").then(|| "/d".into()),
            left_out: (target == "vda").then(|| "it is shared".into()),
            chain,
        };
        let info = MachineInfo {
            machine: MachineView {
                name: "db".into(),
                uuid: "0b2f".into(),
                state: "running".into(),
                persistent: true,
                snapshots: 3,
                current: None,
                ours: false,
            },
            memory: 1 << 30,
            cpus: 2,
            disks: vec![
                disk("vda", "disk", false, vec![file("/a", Some(2048)), file("/b", None)]),
                disk("sda", "cdrom", true, Vec::new()),
            ],
            undo: vec![UndoView { number: 3, created: 0, what: "delete sn03".into(), effect: String::new() }],
            failed: vec![FailedView { name: "web".into(), when: 0, error: "it broke".into() }],
            forks: vec![ForkInfo {
                name: "db.fork-1".into(),
                machine: "db".into(),
                of: "web".into(),
                kept: true,
                since: None,
                by: None,
                memory: Some(3 << 20),
                forwards: Vec::new(),
                forwards_back: Vec::new(),
            }],
        };
        assert_eq!(
            machine(&info),
            format!(
                "\
Name:           db
UUID:           0b2f
State:          running
Persistent:     yes
Made by:        another tool
CPUs:           2
Memory:         1.0 GiB
Snapshots:      3
Current:        -
Disk vda:       disk, qcow2
                0  2.0 KiB  /a
                1  missing  /b
                next start: /d
                left out of snapshots: it is shared
Disk sda:       cdrom, qcow2, read-only, until it stops
                empty
Undo 3:         delete sn03, {}
Failed:         web, {}
                it broke
Fork:           db.fork-1
                of web, 3.0 MiB of its own
",
                time(0),
                time(0)
            )
        );
    }

    #[test]
    fn a_snapshot_has_virshs_facts_and_more() {
        let view = SnapshotView {
            name: "sn02".into(),
            parent: Some("sn01".into()),
            comment: "two\nlines".into(),
            created: 0,
            state: "disk-snapshot".into(),
            current: true,
            kind: SnapshotKind::External,
            live: false,
            key: None,
            operations: Vec::new(),
        };
        let mut info = SnapshotInfo {
            machine: "db".into(),
            snapshot: view,
            children: vec!["a".into(), "b".into()],
            descendants: 3,
            size: 2048,
            memory: None,
            restores: Restores::default(),
            disks: vec![SnapshotDiskInfo {
                target: "vda".into(),
                kind: Some(SnapshotKind::External),
                file: Some("/a".into()),
                overlay: Some("/c".into()),
                chain: vec![file("/a", Some(2048))],
            }],
        };
        let expected = format!(
            "\
Name:           sn02
Machine:        db
Current:        yes
State:          disk-snapshot
Kind:           external
Parent:         sn01
Children:       2 (a, b)
Descendants:    3
Created:        {}
Comment:        two
                lines
Key:            -
Size:           2.0 KiB
RAM:            -
Disk vda:       external
                0  2.0 KiB  /a
                overlay: /c
",
            time(0)
        );
        assert_eq!(snapshot(&info), expected);
        (info.snapshot.live, info.children, info.disks[0].kind) = (true, Vec::new(), None);
        info.restores = Restores { guests: 12, clocks: 12, generations: 11, identities: 1 };
        let text = snapshot(&info);
        assert!(text.contains("Children:       0\n"), "{text}");
        let resumed = "Resumed:        12 (clock set 12, generation id renewed 11, identity renewed 1)\n";
        assert!(text.contains(resumed), "{text}");
        assert!(text.contains("RAM:            internal\n"), "{text}");
        assert!(text.contains("Disk vda:       left out\n"), "{text}");
    }
}
