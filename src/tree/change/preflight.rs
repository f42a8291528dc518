//! Refuses unsupported operations before anything changes.

use std::path::{Path, PathBuf};

use crate::error::{Because, Error, Result};
use crate::hypervisor::{Disk, DiskFile, Domain, SnapshotKind, Source, Version};
use crate::name::SnapshotName;
use crate::shell;
use crate::tree::files::file_id::is_same_file;
use crate::tree::kept::machine_state::MachineState;
use crate::tree::machine::engine::Engine;
use crate::tree::machine::machine::Machine;
use crate::tree::owners::dependents::written_by_another;

/// The first libvirt that accepts external snapshots with `VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE`.
const REDEFINES: Version = Version::new(5, 1, 0);
/// The first libvirt that includes the variables of UEFI firmware in internal snapshots.
const KEEPS_NVRAM: Version = Version::new(10, 9, 0);

/// Refuses a libvirt that cannot add existing snapshots to a tree.
pub fn redefine(engine: &Engine) -> Result<()> {
    let version = engine.hypervisor.version()?;
    if version < REDEFINES {
        return Err(Error::failed(format!("libvirt {version} is too old"))
            .cause(format!("changing snapshot trees needs {REDEFINES} or newer"))
            .hint("install a newer libvirt; `snaptree doctor` shows what it supports"));
    }
    Ok(())
}

/// Refuses a domain with a managed save, from which libvirt would start it.
pub fn managed_save(machine: &Machine) -> Result<()> {
    if !machine.details.has_managed_save {
        return Ok(());
    }
    let (name, word) = (&machine.name, shell::last(&machine.name));
    Err(Error::failed(format!("the RAM of `{name}` was saved to disk by a managed save"))
        .cause("its disks must not change until it is started again")
        .hint(format!("`virsh start {word}` resumes it, `virsh managedsave-remove {word}` discards its RAM")))
}

pub fn end_block_job(machine: &Machine, target: &str) -> String {
    format!("`virsh blockjob {} {target}` shows it, with `--abort` it ends", shell::word(machine.name.as_str()))
}

/// Names another domain that writes to one of these files, so that their content may change.
fn another_writer(engine: &Engine, machine: &Machine, files: &[DiskFile]) -> Result<Option<(String, Domain)>> {
    let paths: Vec<PathBuf> = files.iter().map(|disk| disk.file.clone()).collect();
    let another = written_by_another(engine, machine, &paths)?;
    Ok(another.map(|(file, other)| {
        let target = files.iter().find(|disk| is_same_file(&disk.file, &file)).map_or("", |disk| &disk.target);
        let (name, file) = (&other.name, file.display());
        (format!("domain `{name}` writes to `{file}`, the file of disk `{target}`, too"), other)
    }))
}

fn give_another_disk(other: &Domain) -> String {
    format!("give that domain another disk first: `virsh edit {}`", shell::last(&other.name))
}

/// Refuses files that another domain writes to.
pub fn own(engine: &Engine, machine: &Machine, files: &[DiskFile], cannot: impl Fn() -> Error) -> Result<()> {
    match another_writer(engine, machine, files)? {
        Some((why, other)) => Err(cannot().cause(why).hint(give_another_disk(&other))),
        None => Ok(()),
    }
}

/// Refuses a snapshot of disks that another running domain writes to as well; returns a warning if that domain is off.
pub fn snapshot(engine: &Engine, machine: &Machine, disks: &[DiskFile]) -> Result<Option<String>> {
    match another_writer(engine, machine, disks)? {
        Some((why, other)) if other.state.is_active() => {
            Err(Error::failed(format!("`{}` cannot have a snapshot", machine.name))
                .cause(why)
                .hint(give_another_disk(&other)))
        }
        another => Ok(another.map(|(why, _)| format!("the content of the snapshot may change: {why}"))),
    }
}

/// Refuses to keep a running guest if there is no room for its RAM.
pub fn keep(machine: &Machine, present: &MachineState) -> Result<()> {
    match &present.memory {
        Some(file) => room_for_ram(machine, file.parent().unwrap_or(file), "shut the guest down first"),
        None => Ok(()),
    }
}

pub fn room_for_ram(machine: &Machine, directory: &Path, hint: &str) -> Result<()> {
    let size = |bytes| bytesize::ByteSize(bytes).display().iec().to_string();
    // A directory that does not exist yet will be on the file system of its parent.
    let existing = directory.ancestors().find(|directory| directory.exists()).unwrap_or(directory);
    let stat = rustix::fs::statvfs(existing).because(|| format!("cannot look at `{}`", existing.display()))?;
    let (free, needed) = (stat.f_bavail.saturating_mul(stat.f_frsize), machine.details.memory);
    if free < needed {
        return Err(Error::failed(format!("there is not enough space for the RAM of `{}`", machine.name))
            .cause(format!("it may take {}, and `{}` has {} free", size(needed), directory.display(), size(free)))
            .hint(hint));
    }
    Ok(())
}

/// The purpose of an overlay's directory.
pub const OVERLAY: &str = "the disk's new overlay goes there";

/// Refuses a directory in which no file can be made; `hint` names its purpose.
pub fn writable(directory: &Path, hint: &str) -> Result<()> {
    tempfile::tempfile_in(directory)
        .map(drop)
        .because(|| format!("cannot make a file in `{}`", directory.display()))
        .map_err(|error| error.hint(hint))
}

/// Refuses the RAM of a guest that cannot be written to a file.
pub fn memory(machine: &Machine) -> Result<()> {
    let name = &machine.name;
    if !machine.is_active() {
        return Err(Error::failed(format!("`{name}` is shut off: there is no RAM to save"))
            .hint("start it first, or take a snapshot of its disks"));
    }
    match machine.why_no_memory() {
        Some(why) => Err(Error::failed(format!("the RAM of `{name}` cannot be saved"))
            .cause(why)
            .hint("a snapshot of the disks alone works: `--disk-only`, in Lua `disk_only = true`")),
        None => Ok(()),
    }
}

/// Refuses a disk that a snapshot of this kind cannot hold.
pub fn disk(machine: &Machine, disk: &Disk, kind: SnapshotKind) -> Result<()> {
    let (name, target) = (&machine.name, &disk.target);
    let cannot = |why: &str| Error::failed(format!("no snapshot can hold disk `{target}` of `{name}`")).cause(why);
    if !disk.is_written() {
        let why = match (disk.is_read_only, &disk.source) {
            (_, Source::None) => "it is an empty drive",
            (true, _) => "it is read-only",
            (false, _) => &format!("it is a {}", disk.device),
        };
        return Err(
            cannot(why).hint(format!("do not ask for `{target}`: a snapshot holds the disks that are written to"))
        );
    }
    if let Some(why) = not_a_plain_file(disk) {
        let leave_out =
            format!("leave it out: `--diskspec {target},snapshot=no`, in Lua `disks = {{ {target} = false }}`");
        return Err(cannot(&why).hint(match &disk.source {
            Source::Volume { pool, volume } => format!(
                "`virsh vol-path --pool={} {}` tells its file, `virsh edit {}` puts that in its place; or {leave_out}",
                shell::word(pool),
                shell::last(volume),
                shell::last(name)
            ),
            _ if disk.has_block_job => end_block_job(machine, target),
            _ => leave_out,
        }));
    }
    if kind == SnapshotKind::Internal && disk.format != "qcow2" {
        return Err(cannot(&format!("it is {}, and an internal snapshot lives inside a qcow2 file", disk.format))
            .hint("take an external snapshot: `--external`, in Lua `kind = \"external\"`"));
    }
    Ok(())
}

/// Returns why a disk that a guest writes to can be neither in a snapshot nor copied.
fn not_a_plain_file(disk: &Disk) -> Option<String> {
    let why = match &disk.source {
        Source::Volume { pool, volume } => format!("it is the volume `{volume}` of the pool `{pool}`"),
        Source::Network(protocol) => format!("it is on the network ({protocol})"),
        Source::Block(device) => format!("it is the block device `{}`", device.display()),
        Source::Other(kind) => format!("it is of the type {kind}"),
        Source::File(_) | Source::None if disk.has_block_job => "it has a block job".to_string(),
        // The domain starts without it.
        Source::File(file) if disk.is_optional && matches!(file.try_exists(), Ok(false)) => {
            format!("its file `{}` is gone", file.display())
        }
        Source::File(_) | Source::None => return disk.obstacle.clone().or(disk.is_used_otherwise().map(String::from)),
    };
    Some(why)
}

/// Refuses to copy the disks of a machine if the copy could differ from them.
pub fn copy(machine: &Machine) -> Result<()> {
    for disk in machine.details.disks.iter().filter(|disk| disk.is_written()) {
        if let Some(why) = not_a_plain_file(disk) {
            return Err(Error::failed(format!("disk `{}` of `{}` cannot be copied", disk.target, machine.name))
                .cause(why)
                .hint("a root stands for all disks that a guest writes to: detach it, or make it a file"));
        }
    }
    Ok(())
}

/// Refuses a name that QEMU cannot give to an internal snapshot of a running guest.
pub fn internal_name(machine: &Machine, name: &SnapshotName) -> Result<()> {
    let is_taken = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if !machine.is_active() || name.as_str().chars().all(is_taken) {
        return Ok(());
    }
    Err(Error::failed(format!("an internal snapshot of a running guest cannot be named `{name}`"))
        .cause("QEMU takes letters of ASCII, digits, `-`, `.` and `_`")
        .hint("give it another name, or take an external snapshot"))
}

/// Refuses an internal snapshot that would lack the variables of the machine's firmware.
pub fn firmware(engine: &Engine, machine: &Machine) -> Result<()> {
    let Some(format) = &machine.details.nvram else { return Ok(()) };
    let version = engine.hypervisor.version()?;
    let why = if version < KEEPS_NVRAM {
        format!("libvirt puts the firmware's variables into one from {KEEPS_NVRAM} on, and this is {version}")
    } else if format != "qcow2" {
        format!("the file with the firmware's variables is {format}, not qcow2")
    } else {
        return Ok(());
    };
    Err(Error::failed(format!("`{}` starts by UEFI and cannot have an internal snapshot", machine.name))
        .cause(why)
        .hint("take an external snapshot: `--external`, in Lua `kind = \"external\"`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::DomainState;
    use crate::tree::machine::example::machine;
    use crate::tree::record::example;

    #[test]
    fn qemu_takes_some_names_only_and_only_while_it_runs() {
        let mut machine = machine(&[]);
        let refused =
            |machine: &Machine, name: &str| internal_name(machine, &SnapshotName::new(name).unwrap()).is_err();
        assert!(!refused(&machine, "1 ü"));
        machine.details.domain.state = DomainState::Paused;
        for name in ["a-._Z9", "1", "_a", "-a"] {
            assert!(!refused(&machine, name), "{name}");
        }
        for name in ["a b", "ü", "a:b", "aü"] {
            assert!(refused(&machine, name), "{name}");
        }
    }

    #[test]
    fn only_an_internal_snapshot_minds_the_format() {
        let machine = machine(&[]);
        let mut raw = example::disk("vdb", Source::File("/vm/b.raw".into()));
        raw.format = "raw".into();
        assert!(disk(&machine, &raw, SnapshotKind::External).is_ok());
        assert!(disk(&machine, &raw, SnapshotKind::Internal).is_err());
    }

    #[test]
    fn a_device_of_the_host_keeps_the_ram_from_being_saved() {
        let mut machine = machine(&[]);
        assert!(memory(&machine).is_err(), "it is off");
        machine.details.domain.state = DomainState::Running;
        assert!(memory(&machine).is_ok());
        machine.details.has_host_devices = true;
        assert_eq!(memory(&machine).unwrap_err().causes, ["the guest has a host device"]);
        machine.details.filesystems = vec!["virtiofs".into()];
        assert_eq!(memory(&machine).unwrap_err().causes, ["the guest mounts a host directory (virtiofs)"]);
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_as_large_as_the_one_above_it() {
        let mut machine = machine(&[]);
        let there = tempfile::tempdir().unwrap();
        machine.details.memory = 1;
        assert!(room_for_ram(&machine, &there.path().join("a/b"), "").is_ok());
        machine.details.memory = u64::MAX;
        let error = room_for_ram(&machine, &there.path().join("a/b"), "hint").unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("hint"));
    }
}
