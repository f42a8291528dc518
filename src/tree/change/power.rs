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

pub fn state(engine: &Engine, machine: &MachineName) -> Result<DomainState> {
    Ok(engine.existing_now(machine)?.details.domain.state)
}

/// Starts a machine; fails if it is running.
pub fn start(engine: &Engine, machine: &MachineName, start: Start) -> Result<()> {
    engine.hypervisor.start(engine.existing_now(machine)?.name.as_str(), start)
}

/// Asks the guest to power off, and waits until it does.
pub fn shutdown(engine: &Engine, machine: &MachineName, timeout: Duration) -> Result<()> {
    let name = engine.existing_now(machine)?.name.clone();
    engine.hypervisor.shutdown(name.as_str())?;
    engine.hypervisor.wait_until_gone(name.as_str(), &Stop::after(timeout, &engine.interrupt))
}

/// Stops a machine at once; fails if it is not running.
pub fn power_off(engine: &Engine, machine: &MachineName) -> Result<()> {
    let machine = engine.existing_now(machine)?;
    if !machine.is_active() {
        return Err(
            Error::failed(format!("machine `{}` is not running", machine.name)).hint("there is nothing to power off")
        );
    }
    engine.hypervisor.destroy(machine.name.as_str())
}

pub fn suspend(engine: &Engine, machine: &MachineName) -> Result<()> {
    engine.hypervisor.suspend(engine.existing_now(machine)?.name.as_str())
}

pub fn resume(engine: &Engine, machine: &MachineName) -> Result<()> {
    engine.hypervisor.resume(engine.existing_now(machine)?.name.as_str())
}

/// Writes a picture of the machine's first screen into a file; returns its MIME type.
pub fn screenshot(engine: &Engine, machine: &MachineName, file: &Path) -> Result<String> {
    let (kind, picture) = engine.hypervisor.screenshot(engine.existing_now(machine)?.name.as_str())?;
    std::fs::write(file, picture).because(|| format!("cannot write `{}`", file.display()))?;
    Ok(kind)
}

/// Returns a machine's XML, with `inactive` that of its next start.
pub fn xml(engine: &Engine, machine: &MachineName, inactive: bool) -> Result<String> {
    let machine = engine.existing_now(machine)?;
    if inactive {
        return Ok(machine.details.document.0.clone());
    }
    let Document(xml) = engine.hypervisor.live_document(machine.name.as_str())?;
    Ok(xml)
}

/// Opens the guest of a running machine. It is waited for before the first operation that is not on its console, since
/// a machine that boots, or has no agent, has a console all the same.
pub fn guest_of(engine: &Engine, machine: &MachineName, timeout: Duration) -> Result<LiveSession> {
    let name = engine.existing_now(machine)?.name.clone();
    let guest = Arc::from(engine.hypervisor.guest(name.as_str())?);
    Ok(LiveSession::new(Subject::machine(&name), guest, engine.events.clone(), engine.interrupt.clone())
        .with_console(engine.serial(name.as_str()))
        .waiting(timeout)
        .concurrent())
}
