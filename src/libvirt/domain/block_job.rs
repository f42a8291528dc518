//! Jobs on the disks of running domains.

use std::time::Duration;

use virt::domain::Domain as VirtDomain;
use virt::error::Error as VirtError;

use crate::error::{Error, Result};
use crate::libvirt::xml::element::from_libvirt;
use crate::libvirt::xml::{disk_xml, domain_xml};
use crate::libvirt::{fault, raw};
use crate::stop::Stop;

const POLL: Duration = Duration::from_millis(50);
/// How often libvirt is asked again about a job that has ended, since it learns of the end a moment later.
const PATIENCE: usize = 40;

/// Copies a disk's backing layers into the disk's own file.
pub fn pull(domain: &VirtDomain, name: &str, target: &str, stop: &Stop) -> Result<()> {
    let message = || format!("cannot copy the backing layers of the disk `{target}` of `{name}` into it");
    let failed = |error: VirtError| fault::failed(message(), &error);
    if stands_alone(domain, name, target)? {
        return Ok(());
    }
    raw::block_pull(domain, target).map_err(failed)?;
    while raw::has_block_job(domain, target).map_err(failed)? {
        if let Err(stopped) = stop.check(|| format!("the copy into the disk `{target}` of `{name}`")) {
            // It may have ended meanwhile, but what stopped us is the error to report.
            let _ = raw::abort_block_job(domain, target);
            return Err(stopped);
        }
        stop.sleep(POLL);
    }
    // A job that failed is gone just like one that succeeded.
    for _ in 0..PATIENCE {
        if stands_alone(domain, name, target)? {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
    Err(Error::failed(message())
        .cause("the job ended before all was copied")
        .hint("is there room on the disk's file system? QEMU's log of the domain may tell more"))
}

fn stands_alone(domain: &VirtDomain, name: &str, target: &str) -> Result<bool> {
    let xml = domain.xml_desc(0).map_err(|error| fault::failed(format!("cannot read the domain `{name}`"), &error))?;
    disk_xml::stands_alone(&domain_xml::parse(&from_libvirt(&xml))?, target)
}
