//! QEMU's own monitor, through libvirt (`virDomainQemuMonitorCommand`).

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use virt::domain::Domain as VirtDomain;

use crate::error::{Error, Kind, Result};
use crate::libvirt::fault;

/// The flag of libvirt's call for a line as a person would type it.
const HUMAN: u32 = 1;
const POLL: Duration = Duration::from_millis(3);
/// No bound, where QEMU has 128 MiB/s unless told.
const BANDWIDTH: u64 = 1 << 40;
/// Without it QEMU writes the RAM too, or waits for it.
const IGNORE_SHARED: &str = "x-ignore-shared";

/// Carries out a QMP command and gives what it returns.
pub fn execute(domain: &VirtDomain, command: &str, arguments: &Value) -> Result<Value> {
    let failed = || format!("QEMU's monitor refuses `{command}`");
    let request = json!({ "execute": command, "arguments": arguments }).to_string();
    let answer = domain.qemu_monitor_command(&request, 0).map_err(|error| fault::failed(failed(), &error))?;
    let mut answer: Value = serde_json::from_str(&answer).map_err(|cause| Error::failed(failed()).cause(cause))?;
    match answer["error"]["desc"].as_str() {
        Some(cause) => Err(Error::failed(failed()).cause(cause)),
        None => Ok(answer["return"].take()),
    }
}

/// Carries out a command of the human monitor and gives what it prints, which is nothing when all went well.
pub fn human(domain: &VirtDomain, line: &str) -> Result<String> {
    let failed = |error| fault::failed("QEMU's monitor takes no command", &error);
    domain.qemu_monitor_command(line, HUMAN).map(|answer| answer.trim().to_string()).map_err(failed)
}

/// Writes a guest's state into a file (`migrate`), without the RAM that it has in a file where `leaves_ram`.
pub fn write_state(domain: &VirtDomain, file: &str, leaves_ram: bool, limit: Duration) -> Result<()> {
    migrate(domain, "migrate", file, leaves_ram, limit)?;
    // The state is whole a moment before QEMU is ready to go on.
    while execute(domain, "query-status", &json!({}))?["status"] == "finish-migrate" {
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Lets a guest that waits for it have the state in a file (`migrate-incoming`).
pub fn read_state(domain: &VirtDomain, file: &str, leaves_ram: bool, limit: Duration) -> Result<()> {
    migrate(domain, "migrate-incoming", file, leaves_ram, limit)
}

/// Moves a guest's state and waits for the end.
fn migrate(domain: &VirtDomain, command: &str, file: &str, leaves_ram: bool, limit: Duration) -> Result<()> {
    let ignore = |state: bool| {
        let capability = json!({ "capability": IGNORE_SHARED, "state": state });
        execute(domain, "migrate-set-capabilities", &json!({ "capabilities": [capability] }))
    };
    if leaves_ram {
        ignore(true)?;
    } else {
        execute(domain, "migrate-set-parameters", &json!({ "max-bandwidth": BANDWIDTH }))?;
    }
    execute(domain, command, &json!({ "uri": format!("file:{file}") }))?;
    let started = Instant::now();
    loop {
        let status = execute(domain, "query-migrate", &json!({}))?;
        match status["status"].as_str() {
            Some("completed") => break,
            Some("failed") => {
                let cause = status["error-desc"].as_str().unwrap_or("QEMU does not say why");
                return Err(Error::failed("QEMU cannot move the guest's state").cause(cause));
            }
            _ if started.elapsed() > limit => {
                return Err(Error::new(
                    Kind::Timeout,
                    format!("QEMU did not move the guest's state within {} s", limit.as_secs()),
                ));
            }
            _ => std::thread::sleep(POLL),
        }
    }
    if leaves_ram {
        // What libvirt does later with this guest is to have all of it.
        ignore(false)?;
    }
    Ok(())
}
