//! Starting and stopping, with the rules of libvirt and QEMU.

use crate::error::{Error, Result};
use crate::fake::record::state::{DomainRecord, Ram, State};
use crate::hypervisor::{DomainState, Start};

pub const NOT_RUNNING: &str = "domain is not running";

/// A picture of one black pixel.
pub const SCREEN: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\
    \0\0\0\nIDATx\x9cc`\0\0\0\x02\0\x01H\xaf\xa4q\0\0\0\0IEND\xaeB`\x82";

impl State {
    /// Boots a domain, or resumes it from a managed save as libvirt does unasked.
    pub fn start(&mut self, name: &str, start: Start) -> Result<()> {
        let failed = |cause: String| Error::failed(format!("cannot start domain `{name}`")).cause(cause);
        let record = self.record(name)?;
        if record.is_active() {
            return Err(failed("domain is already running".to_string()));
        }
        self.check_disks(&record.document).map_err(failed)?;
        let record = self.record_mut(name)?;
        let resumes = std::mem::take(&mut record.managed_save);
        let ram = if resumes { std::mem::take(&mut record.ram) } else { Ram::default() };
        record.set_state(started(start.paused), ram);
        if !resumes {
            self.started.push(name.to_string());
        }
        Ok(())
    }

    /// Presses the power button. The guest obeys at once, unless its processors are stopped.
    pub fn shutdown(&mut self, name: &str) -> Result<()> {
        let record = self.active(name, || format!("cannot shut domain `{name}` down"))?;
        if record.state == DomainState::Running {
            self.stop(name);
        }
        Ok(())
    }

    pub fn suspend(&mut self, name: &str) -> Result<()> {
        let failed = || format!("cannot suspend domain `{name}`");
        let record = self.active(name, failed)?;
        if record.state == DomainState::Pmsuspended {
            return Err(Error::failed(failed()).cause("domain is pmsuspended"));
        }
        record.state = DomainState::Paused;
        Ok(())
    }

    pub fn resume(&mut self, name: &str) -> Result<()> {
        let failed = || format!("cannot resume domain `{name}`");
        let record = self.active(name, failed)?;
        match record.state {
            DomainState::Running => Err(Error::failed(failed()).cause("domain is already running")),
            DomainState::Pmsuspended => Err(Error::failed(failed()).cause("domain is pmsuspended")),
            _ => {
                record.state = DomainState::Running;
                Ok(())
            }
        }
    }

    pub fn pull(&mut self, name: &str, target: &str) -> Result<()> {
        let failed = || format!("cannot pull the backing layers of disk `{target}` of domain `{name}`");
        let record = self.active(name, failed)?;
        let disk = record.now().disks.get(target);
        let disk = disk.ok_or_else(|| Error::failed(failed()).cause(format!("no disk named '{target}'")))?;
        let place = disk.place().map(|place| place.to_path_buf());
        let place = place.ok_or_else(|| Error::failed(failed()).cause(format!("disk '{target}' has no file")))?;
        self.stand_alone(&place).map_err(|cause| Error::failed(failed()).cause(cause))
    }

    /// Returns a domain for which QEMU runs.
    pub fn active(&mut self, name: &str, failed: impl Fn() -> String) -> Result<&mut DomainRecord> {
        let record = self.record_mut(name)?;
        if record.is_active() { Ok(record) } else { Err(Error::failed(failed()).cause(NOT_RUNNING)) }
    }
}

pub fn started(paused: bool) -> DomainState {
    if paused { DomainState::Paused } else { DomainState::Running }
}
