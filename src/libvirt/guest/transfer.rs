//! Disks that are attached to a running domain for one copy.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use virt::domain::Domain;
use virt::sys;

use crate::agent::{AttachedDisk, Scratch};
use crate::libvirt::xml::element::Element;
use crate::libvirt::xml::transfer_xml::{self, SERIAL};
use crate::paths;
use crate::trace;

/// How long a guest may take to let go of a disk before it is asked again, and in all.
const ASK_AGAIN: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Where the files of such disks are, and the locks by which a domain has at most one.
#[derive(Clone, Debug)]
pub struct Transfers(PathBuf);

/// Keeps other processes from attaching such a disk to a domain. Its file goes with it.
pub struct Hold {
    path: PathBuf,
    _lock: File,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Transfers {
    pub fn new(store: &Path) -> Self {
        Self(store.join("transfers"))
    }

    /// Makes an empty file; removes those of processes that were killed.
    pub fn scratch(&self) -> io::Result<Scratch> {
        paths::make_passable(&self.0)?;
        for entry in fs::read_dir(&self.0)?.flatten().filter(|entry| entry.path().extension() == Some("raw".as_ref())) {
            // The process that made it holds its lock.
            if File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
                fs::remove_file(entry.path())?;
            }
        }
        let path = self.0.join(format!("{}.raw", uuid::Uuid::new_v4().simple()));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        file.lock()?;
        Ok(Scratch { file, path })
    }

    /// Waits until a domain has no such disk, and keeps it so.
    pub fn hold(&self, uuid: &str) -> io::Result<Hold> {
        loop {
            if let Some(hold) = self.lock(uuid, |file| file.lock().map(|()| true))? {
                return Ok(hold);
            }
        }
    }

    /// Does the same if that is so now.
    fn try_hold(&self, uuid: &str) -> io::Result<Option<Hold>> {
        self.lock(uuid, |file| match file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        })
    }

    fn lock(&self, uuid: &str, lock: impl FnOnce(&File) -> io::Result<bool>) -> io::Result<Option<Hold>> {
        paths::make_passable(&self.0)?;
        let path = self.0.join(format!("{uuid}.lock"));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let is_locked = lock(&file)?;
        // The one before may have removed the file meanwhile.
        let is_same = fs::metadata(&path).is_ok_and(|now| now.ino() == file.metadata().map_or(0, |held| held.ino()));
        Ok((is_locked && is_same).then_some(Hold { path, _lock: file }))
    }

    /// Attaches a file to a domain as a raw disk (`virDomainAttachDeviceFlags`); says why not.
    pub fn attach(
        &self,
        domain: Domain,
        scratch: &Scratch,
        is_read_only: bool,
    ) -> Result<Box<dyn AttachedDisk>, String> {
        let _span = trace::span("attach a disk");
        let failed = |error: virt::error::Error| error.message().to_string();
        let uuid = domain.uuid_string().map_err(failed)?;
        let hold = self.try_hold(&uuid).map_err(|error| error.to_string())?;
        let hold = hold.ok_or("another file is copied by a disk")?;
        let document = Element::parse(&domain.xml_desc(0).map_err(failed)?)?;
        // Its lock is free, so no process uses it any more.
        for left in transfer_xml::serials(&document) {
            detach(&domain, &left);
        }
        let id = uuid::Uuid::new_v4().simple().to_string();
        let serial = format!("{SERIAL}{}", &id[..11]);
        let file = paths::for_libvirt(&scratch.path).map_err(|error| error.to_string())?;
        let target = transfer_xml::free_target(&document).ok_or("the domain has no name left for a disk")?;
        let disk = transfer_xml::disk(file, &target, &serial, is_read_only);
        domain.attach_device_flags(&disk.to_string(), sys::VIR_DOMAIN_AFFECT_LIVE).map_err(failed)?;
        Ok(Box::new(TransferDisk { domain, serial, _hold: hold }))
    }
}

struct TransferDisk {
    domain: Domain,
    serial: String,
    // After the disk is gone.
    _hold: Hold,
}

impl AttachedDisk for TransferDisk {
    fn serial(&self) -> &str {
        &self.serial
    }
}

impl Drop for TransferDisk {
    fn drop(&mut self) {
        let _span = trace::span("detach a disk");
        detach(&self.domain, &self.serial);
    }
}

/// Takes a disk away (`virDomainDetachDeviceFlags`), and waits until the domain has it no more.
fn detach(domain: &Domain, serial: &str) {
    let started = Instant::now();
    let mut asked: Option<Instant> = None;
    while started.elapsed() < PATIENCE {
        // A domain that is gone has no disks.
        let Ok(xml) = domain.xml_desc(0) else { return };
        let Ok(document) = Element::parse(&xml) else { return };
        let Some(disk) = transfer_xml::find(&document, serial) else { return };
        if asked.is_none_or(|asked| asked.elapsed() > ASK_AGAIN) {
            // It may be on its way out already.
            let _ = domain.detach_device_flags(&disk.to_string(), sys::VIR_DOMAIN_AFFECT_LIVE);
            asked = Some(Instant::now());
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
