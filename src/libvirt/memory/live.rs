//! Guests whose RAM is in a file: freezing one, and resuming from a frozen state.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use virt::connect::Connect;
use virt::domain::Domain as VirtDomain;
use virt::sys;

use crate::error::{Because, Error, Result};
use crate::hypervisor::{Frozen, Ram, Saved};
use crate::libvirt::domain::power;
use crate::libvirt::fault;
use crate::libvirt::guest::monitor;
use crate::libvirt::image::sparse::{self, Following};
use crate::libvirt::memory::save_image;
use crate::libvirt::xml::element::Element;
use crate::libvirt::xml::{domain_facts, live_xml};
use crate::trace;

const DEVICES_LIMIT: Duration = Duration::from_secs(60);
const WHOLE_LIMIT: Duration = Duration::from_secs(1800);

/// The user and the group that libvirt runs QEMU as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    user: u32,
    group: u32,
}

impl Owner {
    /// Reads the connection's capabilities; nothing if libvirt does not change users.
    pub fn of(capabilities: &Element) -> Option<Self> {
        let models = capabilities.find("host")?.all("secmodel");
        let dac = models.into_iter().find(|model| model.text_of("model") == Some("dac"))?;
        let mut ids = dac.text_of("baselabel")?.split(':').map(|id| id.trim_start_matches('+').parse().ok());
        Some(Self { user: ids.next()??, group: ids.next()?? })
    }
}

/// Makes a file, empty or with holes as large as `size`, that QEMU may write to and no other user may read.
fn make(file: &Path, size: u64, owner: Option<Owner>) -> Result<()> {
    let failed = || format!("cannot make `{}`", file.display());
    let made = File::options().create(true).truncate(false).write(true).mode(0o600).open(file).because(failed)?;
    made.set_len(size).because(failed)?;
    made.set_permissions(Permissions::from_mode(0o600)).because(failed)?;
    give(file, owner).because(failed)
}

/// Gives a file to QEMU. If we may not do that, libvirt runs QEMU as our own user.
fn give(file: &Path, owner: Option<Owner>) -> std::io::Result<()> {
    let given = owner.map_or(Ok(()), |owner| chown(file, Some(owner.user), Some(owner.group)));
    given.or_else(|error| if error.kind() == ErrorKind::PermissionDenied { Ok(()) } else { Err(error) })
}

/// Copies a file with a guest's RAM.
pub fn copy_ram(from: &Path, to: &Path, owner: Option<Owner>) -> Result<()> {
    sparse::copy(from, to)?;
    keep_for_qemu(to, owner)
}

/// Copies the file that holds a running guest's RAM; the copy can catch up with it once the guest is stopped.
pub fn follow_ram(from: &Path, to: &Path, owner: Option<Owner>) -> Result<Following> {
    let following = Following::start(from, to)?;
    keep_for_qemu(to, owner)?;
    Ok(following)
}

fn keep_for_qemu(file: &Path, owner: Option<Owner>) -> Result<()> {
    let failed = || format!("cannot give `{}` to QEMU", file.display());
    fs::set_permissions(file, Permissions::from_mode(0o600)).and_then(|()| give(file, owner)).because(failed)
}

/// Starts a transient domain, whose guest resumes from a state if one is given.
pub fn start(
    connect: &Connect,
    name: &str,
    mut domain: Element,
    ram: &Ram,
    from: Option<&Frozen>,
    paused: bool,
    owner: Option<Owner>,
) -> Result<()> {
    if let Ram::Shared(file) = ram {
        make(file, domain_facts::memory(&domain), owner)?;
    }
    let failed = |error| fault::failed(format!("cannot start the domain `{name}`"), &error);
    let create = |domain: &Element, flags| {
        let _span = trace::span("virDomainCreateXML");
        connect.create_domain_xml(&domain.to_string(), flags).map_err(failed)
    };
    let (file, leaves_ram) = match from {
        None => {
            live_xml::place(&mut domain, ram, false);
            return create(&domain, if paused { sys::VIR_DOMAIN_START_PAUSED } else { 0 }).map(drop);
        }
        Some(Frozen::Saved(image)) => return save_image::restore_as(connect, image, &domain, paused),
        Some(Frozen::Devices(file)) => (file, true),
        Some(Frozen::Whole(file)) => (file, false),
    };
    live_xml::place(&mut domain, ram, true);
    let started = create(&domain, sys::VIR_DOMAIN_START_PAUSED)?;
    let wake = || {
        let _span = trace::span("migrate-incoming");
        let limit = if leaves_ram { DEVICES_LIMIT } else { WHOLE_LIMIT };
        // Behind user networking no switch has to learn where the guest is now. But without any round QEMU 10 crashes
        // when the guest is reset: it has then freed the timer that virtio-net stops.
        monitor::execute(&started, "migrate-set-parameters", &json!({ "announce-rounds": 1 }))?;
        monitor::read_state(&started, &power::path(file)?, leaves_ram, limit)?;
        if paused { Ok(()) } else { power::resume(&started, name) }
    };
    wake().map_err(|error: Error| {
        // A guest that never resumed has nothing to lose, and the first error is the one to report.
        let _ = started.destroy();
        Error::failed(format!("the guest of `{name}` cannot resume from `{}`", file.display())).caused_by(error)
    })
}

/// Writes the state of a guest whose processors are stopped into a file.
pub fn freeze(domain: &VirtDomain, name: &str, state: &Frozen, owner: Option<Owner>) -> Result<()> {
    let _span = trace::span_of("freeze", || name.to_string());
    let (file, leaves_ram) = match state {
        Frozen::Saved(file) => {
            return match power::save(domain, name, file)? {
                Saved::Written => Ok(()),
                Saved::AsBefore => Err(Error::failed(format!("the guest of `{name}` was saved before"))),
            };
        }
        Frozen::Devices(file) => (file, true),
        Frozen::Whole(file) => (file, false),
    };
    let limit = if leaves_ram { DEVICES_LIMIT } else { WHOLE_LIMIT };
    make(file, 0, owner)?;
    monitor::write_state(domain, &power::path(file)?, leaves_ram, limit)
        .map_err(|error| Error::failed(format!("the guest of `{name}` cannot be frozen")).caused_by(error))
}

/// Writes the whole state of a running guest into a file, and does something while it is stopped for the rest.
pub fn freeze_running(
    domain: &VirtDomain,
    name: &str,
    file: &Path,
    owner: Option<Owner>,
    meanwhile: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    make(file, 0, owner)?;
    monitor::write_running_state(domain, &power::path(file)?, WHOLE_LIMIT, meanwhile)
        .map_err(|error| Error::failed(format!("the guest of `{name}` cannot be frozen")).caused_by(error))
}
