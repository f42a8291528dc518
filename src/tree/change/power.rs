//! Operations on a machine itself: starting it, stopping it, looking at it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Because, Error, Result};
use crate::event::Subject;
use crate::hypervisor::{Document, DomainState, Start};
use crate::name::MachineName;
use crate::stop::Stop;
use crate::tree::machine::engine::Engine;
use crate::tree::step::live_session::LiveSession;

impl Engine {
    pub fn state(&self, machine: &MachineName) -> Result<DomainState> {
        Ok(self.existing_now(machine)?.details.domain.state)
    }

    /// Starts a machine; fails if it is running.
    pub fn start(&self, machine: &MachineName, start: Start) -> Result<()> {
        self.hypervisor.start(self.existing_now(machine)?.name.as_str(), start)
    }

    /// Asks the guest to power off, and waits until it does.
    pub fn shutdown(&self, machine: &MachineName, timeout: Duration) -> Result<()> {
        let name = self.existing_now(machine)?.name.clone();
        self.hypervisor.shutdown(name.as_str())?;
        self.hypervisor.wait_until_gone(name.as_str(), &Stop::after(timeout, &self.interrupt))
    }

    /// Stops a machine at once; fails if it is not running.
    pub fn power_off(&self, machine: &MachineName) -> Result<()> {
        let machine = self.existing_now(machine)?;
        if !machine.is_active() {
            return Err(Error::failed(format!("machine `{}` is not running", machine.name))
                .hint("there is nothing to power off"));
        }
        self.hypervisor.destroy(machine.name.as_str())
    }

    pub fn suspend(&self, machine: &MachineName) -> Result<()> {
        self.hypervisor.suspend(self.existing_now(machine)?.name.as_str())
    }

    pub fn resume(&self, machine: &MachineName) -> Result<()> {
        self.hypervisor.resume(self.existing_now(machine)?.name.as_str())
    }

    /// Writes a picture of the machine's first screen into a file; returns its MIME type.
    pub fn screenshot(&self, machine: &MachineName, file: &Path) -> Result<String> {
        let (kind, picture) = self.hypervisor.screenshot(self.existing_now(machine)?.name.as_str())?;
        std::fs::write(file, picture).because(|| format!("cannot write `{}`", file.display()))?;
        Ok(kind)
    }

    /// Returns a machine's XML, with `inactive` that of its next start.
    pub fn xml(&self, machine: &MachineName, inactive: bool) -> Result<String> {
        let machine = self.existing_now(machine)?;
        if inactive {
            return Ok(machine.details.document.0.clone());
        }
        let Document(xml) = self.hypervisor.live_document(machine.name.as_str())?;
        Ok(xml)
    }

    /// Opens the guest of a running machine, once it answers.
    pub fn guest_of(&self, machine: &MachineName, timeout: Duration) -> Result<LiveSession> {
        let name = self.existing_now(machine)?.name.clone();
        let guest = Arc::from(self.hypervisor.guest(name.as_str())?);
        let session =
            LiveSession::new(Subject::machine(&name), Arc::clone(&guest), self.events.clone(), self.interrupt.clone());
        guest.wait_until_ready(&Stop::after(timeout, &self.interrupt))?;
        Ok(session)
    }
}
