//! What neither `virt` nor the standard library offers without `unsafe`.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::ptr;

use memmap2::Mmap;
use virt::domain::Domain;
use virt::error::Error as VirtError;
use virt::sys;

/// Sends libvirt's own log to a file instead of our standard error, if it comes before the first call of libvirt.
pub fn log_to(file: &Path) {
    const VARIABLE: &str = "LIBVIRT_LOG_OUTPUTS";
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    // A space would end the path, so libvirt opens the file by its number. It is held open as long as this process lives.
    let opened = File::options().create(true).append(true).open(file);
    let Ok(number) = opened.map(std::os::fd::IntoRawFd::into_raw_fd) else { return };
    let value = format!("3:file:/proc/{}/fd/{number}", std::process::id());
    // SAFETY: connecting is among the first things a run does, before it starts threads that read the environment by
    // other means than the standard library, which locks it.
    unsafe { std::env::set_var(VARIABLE, value) };
}

/// Closes the files that the process which started this one left open here, other than the standard streams. All that this
/// process opens is closed when it starts another one, so that those are told by the lack of that mark.
pub fn close_inherited() {
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    const LAST_STANDARD: i32 = 2;
    let is_inherited = |number: &i32| {
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
        flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).is_some_and(|it| it & CLOSE_ON_EXEC == 0)
    };
    let names = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers: Vec<i32> = names.filter_map(|name| name.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|number| *number > LAST_STANDARD && is_inherited(number)) {
        // SAFETY: nothing in this process has opened it, so nothing uses it.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }
}

/// Maps a file into memory, to be read.
pub fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: it is a file of the store, which is never cut shorter. Its content is read while the guest that writes to
    // it is stopped, and each page of a copy before it is rewritten.
    unsafe { Mmap::map(file) }
}

/// Writes a domain's RAM into a file and stops it (`virDomainSaveFlags`).
pub fn save(domain: &Domain, file: &str) -> Result<(), VirtError> {
    let file = CString::new(file)?;
    // SAFETY: the domain is borrowed and the path ends with a NUL for as long as the call lasts; a null pointer means
    // that no other XML is given.
    checked(unsafe { sys::virDomainSaveFlags(domain.as_ptr(), file.as_ptr(), ptr::null(), 0) }).map(|_| ())
}

/// Starts to copy a disk's backing layers into it (`virDomainBlockPull`).
pub fn block_pull(domain: &Domain, disk: &str) -> Result<(), VirtError> {
    let disk = CString::new(disk)?;
    // SAFETY: the domain is borrowed and the disk's name ends with a NUL for as long as the call lasts.
    checked(unsafe { sys::virDomainBlockPull(domain.as_ptr(), disk.as_ptr(), 0, 0) }).map(|_| ())
}

/// Says whether a job is running on a disk (`virDomainGetBlockJobInfo`).
pub fn has_block_job(domain: &Domain, disk: &str) -> Result<bool, VirtError> {
    let disk = CString::new(disk)?;
    let mut info = sys::virDomainBlockJobInfo { type_: 0, bandwidth: 0, cur: 0, end: 0 };
    // SAFETY: the domain is borrowed and the disk's name ends with a NUL for as long as the call lasts, and `info` is
    // the structure that libvirt fills in.
    let found = unsafe { sys::virDomainGetBlockJobInfo(domain.as_ptr(), disk.as_ptr(), &mut info, 0) };
    Ok(checked(found)? > 0)
}

/// Ends the job on a disk, and waits until it has ended (`virDomainBlockJobAbort`).
pub fn abort_block_job(domain: &Domain, disk: &str) -> Result<(), VirtError> {
    let disk = CString::new(disk)?;
    // SAFETY: the domain is borrowed and the disk's name ends with a NUL for as long as the call lasts.
    checked(unsafe { sys::virDomainBlockJobAbort(domain.as_ptr(), disk.as_ptr(), 0) }).map(|_| ())
}

/// Libvirt returns a negative number for a failure, whose reason it keeps for the thread.
fn checked(returned: i32) -> Result<i32, VirtError> {
    if returned < 0 { Err(VirtError::last_error()) } else { Ok(returned) }
}
