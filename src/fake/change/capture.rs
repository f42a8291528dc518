//! Taking a snapshot.

use std::path::{Path, PathBuf};

use crate::error::{Because, Error, Result};
use crate::fake::change::memory::check_migratable;
use crate::fake::change::power::NOT_RUNNING;
use crate::fake::change::snapshots::DISK_SNAPSHOT;
use crate::fake::record::disk::DiskRecord;
use crate::fake::record::state::{DomainRecord, Files, InternalSnapshot, Member, SnapshotRecord, State};
use crate::hypervisor::{DomainState, Memory, SnapshotKind, SnapshotRequest, Source, Version};

/// Since this version libvirt takes internal snapshots of running guests that boot by UEFI.
const INTERNAL_UEFI: Version = Version::new(10, 9, 0);

/// One disk that takes part.
struct Part {
    target: String,
    place: PathBuf,
    overlay: Option<PathBuf>,
}

impl State {
    pub fn create_snapshot(&mut self, domain: &str, request: &SnapshotRequest) -> Result<()> {
        let name = &request.name;
        let failed = || format!("cannot take snapshot `{name}` of `{domain}`");
        let record = self.record(domain)?;
        let parts = self.plan(record, request).map_err(|cause| Error::failed(failed()).cause(cause))?;
        let is_active = record.is_active();
        let snapshot = SnapshotRecord {
            parent: record.current.clone(),
            comment: request.comment.clone(),
            created: self.clock(),
            state: if request.flags.disk_only && is_active { DISK_SNAPSHOT } else { record.state.as_str() }.to_string(),
            memory: memory(record, request),
            disks: parts.iter().map(|part| (part.target.clone(), part.member(request.kind))).collect(),
            document: record.now().clone(),
        };
        let ram = record.ram.clone();

        for (number, part) in parts.iter().enumerate() {
            match &part.overlay {
                Some(overlay) => {
                    self.stack(overlay, &part.place, request.flags.reuse_external).because(failed)?;
                    self.record_mut(domain)?.change_documents(|document| {
                        if let Some(disk) = document.disks.get_mut(&part.target)
                            && disk.place() == Some(&part.place)
                        {
                            disk.replace(overlay, "qcow2");
                        }
                    });
                }
                None => {
                    let holds_ram = number == 0 && snapshot.memory == Memory::Internal;
                    let layer = self.layer_mut(&part.place);
                    let ram = holds_ram.then(|| ram.clone());
                    layer.snapshots.insert(name.clone(), InternalSnapshot { files: layer.files.clone(), ram });
                }
            }
        }
        if let Memory::External(file) = &snapshot.memory {
            self.write_memory(file, snapshot.document.clone(), ram).because(failed)?;
        }
        let record = self.record_mut(domain)?;
        record.snapshots.insert(name.clone(), snapshot);
        record.current = Some(name.clone());
        if request.flags.halt {
            self.stop(domain);
        }
        Ok(())
    }

    /// Puts an overlay on a layer; an existing one keeps its content.
    fn stack(&mut self, overlay: &Path, backing: &Path, reuse: bool) -> std::io::Result<()> {
        if !reuse {
            return self.add_layer(overlay, Some(backing), Files::new());
        }
        let layer = self.layer_mut(overlay);
        layer.backing.get_or_insert_with(|| backing.to_path_buf());
        Ok(())
    }

    /// Says which disks take part, or in libvirt's words why such a snapshot is impossible.
    fn plan(&self, record: &DomainRecord, request: &SnapshotRequest) -> Result<Vec<Part>, String> {
        let is_active = record.is_active();
        check_flags(record, request)?;
        if record.snapshots.contains_key(&request.name) {
            return Err(format!("domain moment {} already exists", request.name));
        }
        let mut parts: Vec<Part> = Vec::new();
        for (target, overlay) in &request.disks {
            let disk = record.now().disks.get(target).ok_or_else(|| format!("no disk named '{target}'"))?;
            if parts.iter().any(|part| part.target == *target) {
                return Err(format!("disk '{target}' specified twice"));
            }
            let place = check_disk(target, disk, request.kind)?.to_path_buf();
            let overlay = (request.kind == SnapshotKind::External)
                .then(|| overlay.clone().unwrap_or_else(|| place.with_extension(&request.name)));
            if let Some(overlay) = &overlay {
                self.check_overlay(target, overlay, request.flags.reuse_external)?;
                if parts.iter().any(|part| part.overlay.as_ref() == Some(overlay)) {
                    return Err(format!("overlay '{}' specified twice", overlay.display()));
                }
            }
            // QEMU holds the files of a running guest open; qemu-img has to find them.
            if let Some(lost) = self.lost_layer(&place).filter(|_| !is_active) {
                return Err(format!("`{}` is gone", lost.display()));
            }
            parts.push(Part { target: target.clone(), place, overlay });
        }
        match request.kind {
            SnapshotKind::Internal => self.check_internal(record, request)?,
            SnapshotKind::External if parts.is_empty() && request.memory.is_none() => {
                return Err("disk-only snapshots require at least one disk to be selected for snapshot".to_string());
            }
            SnapshotKind::External => {}
        }
        if is_active && memory(record, request) != Memory::No {
            check_migratable(record.now())?;
        }
        Ok(parts)
    }

    fn check_overlay(&self, target: &str, overlay: &Path, reuse: bool) -> Result<(), String> {
        let shown = overlay.display();
        match (self.has_image(overlay), reuse) {
            (true, false) => Err(format!(
                "external snapshot file for disk {target} already exists and is not a block device: {shown}"
            )),
            (false, true) => Err(format!("missing existing file for disk {target}: {shown}")),
            _ => Ok(()),
        }
    }

    fn check_internal(&self, record: &DomainRecord, request: &SnapshotRequest) -> Result<(), String> {
        let document = record.now();
        let is_chosen = |target: &String| request.disks.iter().any(|(chosen, _)| chosen == target);
        if document.disks.iter().any(|(target, disk)| disk.is_written() && !is_chosen(target)) {
            return Err("internal and full system snapshots require all disks to be selected for snapshot".to_string());
        }
        if request.disks.is_empty() {
            return Err("no disk can hold an internal snapshot".to_string());
        }
        match document.nvram.as_deref() {
            Some(_) if record.is_active() && self.version.0 < INTERNAL_UEFI => {
                Err("internal snapshots of a VM with pflash based firmware are not supported".to_string())
            }
            Some(format) if record.is_active() && format != "qcow2" => {
                Err("internal snapshots of a VM with pflash based firmware require QCOW2 nvram format".to_string())
            }
            _ => Ok(()),
        }
    }
}

impl Part {
    fn member(&self, kind: SnapshotKind) -> Member {
        Member { kind, overlay: self.overlay.clone() }
    }
}

/// Says where the RAM goes.
fn memory(record: &DomainRecord, request: &SnapshotRequest) -> Memory {
    match (&request.memory, request.kind) {
        (Some(file), _) => Memory::External(file.clone()),
        (None, SnapshotKind::Internal) if record.is_active() => Memory::Internal,
        _ => Memory::No,
    }
}

fn check_flags(record: &DomainRecord, request: &SnapshotRequest) -> Result<(), String> {
    let flags = request.flags;
    let is_active = record.is_active();
    let refused = if flags.quiesce && !flags.disk_only {
        "Flag 'VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY' is required by flag 'VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE'"
    } else if flags.quiesce && record.state != DomainState::Running {
        NOT_RUNNING
    } else if flags.halt && !record.persistent {
        "cannot halt after transient domain snapshot"
    } else if record.state == DomainState::Pmsuspended {
        "qemu doesn't support taking snapshots of PMSUSPENDED guests"
    } else if request.memory.is_some() && (flags.disk_only || !is_active) {
        "memory state cannot be saved with offline or disk-only snapshot"
    } else if request.kind == SnapshotKind::Internal && flags.disk_only {
        "active qemu domains require external disk snapshots"
    } else if flags.live && (!is_active || flags.disk_only) {
        "live snapshot creation is supported only during full system snapshots"
    } else if flags.live && request.memory.is_none() {
        "live snapshot creation is supported only with external checkpoints"
    } else if request.kind == SnapshotKind::Internal && request.memory.is_some()
        || request.kind == SnapshotKind::External && is_active && !flags.disk_only && request.memory.is_none()
    {
        // libvirt puts the RAM of a running guest into the first disk unless it is told otherwise.
        "mixing internal and external targets for a snapshot is not yet supported"
    } else {
        return Ok(());
    };
    Err(refused.to_string())
}

/// Says where a disk's content is, if it can take part.
fn check_disk<'a>(target: &str, disk: &'a DiskRecord, kind: SnapshotKind) -> Result<&'a Path, String> {
    match (kind, &disk.source) {
        (_, Source::None) => Err(format!("disk '{target}' has no medium")),
        (SnapshotKind::External, _) if disk.read_only => {
            Err(format!("external snapshot for readonly disk {target} is not supported"))
        }
        (SnapshotKind::Internal, Source::File(_) | Source::Block(_)) if disk.format != "qcow2" => {
            Err(format!("internal snapshot for disk {target} unsupported for storage type {}", disk.format))
        }
        (_, Source::File(path) | Source::Block(path)) => Ok(path),
        _ => Err(format!("{} snapshots of disk {target} are not supported on its source", kind.as_str())),
    }
}
