//! QEMU's own monitor, through libvirt (`virDomainQemuMonitorCommand`).

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use virt::domain::Domain as VirtDomain;

use crate::error::{Error, Kind, Result};
use crate::libvirt::fault;

/// libvirt's flag for a line as a person would type it.
const HUMAN: u32 = 1;
const POLL: Duration = Duration::from_millis(1);
/// No limit; QEMU's default is 128 MiB/s.
const BANDWIDTH: u64 = 1 << 40;
/// Without it QEMU writes the RAM too, or waits for it.
const IGNORE_SHARED: &str = "x-ignore-shared";
/// With it QEMU waits between stopping the guest and writing the rest of its state.
const PAUSE: &str = "pause-before-switchover";

/// Executes a QMP command and returns its result.
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

/// Executes a command of the human monitor and returns its output, which is empty on success.
pub fn human(domain: &VirtDomain, line: &str) -> Result<String> {
    let failed = |error| fault::failed("QEMU's monitor takes no command", &error);
    domain.qemu_monitor_command(line, HUMAN).map(|answer| answer.trim().to_string()).map_err(failed)
}

/// Who has a guest's port open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortEnds {
    /// A process of the host.
    pub has_host: bool,
    /// A process in the guest.
    pub has_guest: bool,
}

/// Asks QEMU who has a port open, by its character device (`query-chardev`).
pub fn port_ends(domain: &VirtDomain, device: &str) -> Result<PortEnds> {
    Ok(read_port_ends(&execute(domain, "query-chardev", &json!({}))?, device))
}

fn read_port_ends(devices: &Value, device: &str) -> PortEnds {
    let ends = |found: &Value| PortEnds {
        has_host: found["filename"].as_str().is_some_and(|name| !name.starts_with("disconnected:")),
        has_guest: found["frontend-open"] == true,
    };
    devices.as_array().into_iter().flatten().find(|found| found["label"] == device).map(ends).unwrap_or_default()
}

/// Says whether a process in the guest has a port open. A domain that is busy, as one that is being saved is, may not
/// tell; then it has.
pub fn is_waited_at(domain: &VirtDomain, device: &str) -> bool {
    port_ends(domain, device).map_or(true, |ends| ends.has_guest)
}

/// Writes a guest's state into a file (`migrate`), without RAM that is in a file if `leaves_ram`.
pub fn write_state(domain: &VirtDomain, file: &str, leaves_ram: bool, limit: Duration) -> Result<()> {
    migrate(domain, "migrate", file, leaves_ram, limit)?;
    wait_until_ready(domain)
}

/// A state is complete a moment before QEMU is ready to resume.
fn wait_until_ready(domain: &VirtDomain) -> Result<()> {
    while execute(domain, "query-status", &json!({}))?["status"] == "finish-migrate" {
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Writes the whole state of a running guest into a file, most of it while the guest keeps running. `meanwhile` runs
/// once it is stopped, before the rest is written (`pause-before-switchover`).
pub fn write_running_state(
    domain: &VirtDomain,
    file: &str,
    limit: Duration,
    meanwhile: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    capability(domain, PAUSE, true)?;
    let written = write_in_two_parts(domain, file, limit, meanwhile);
    // A later write of a state must not wait for anything in between.
    written.and(capability(domain, PAUSE, false))
}

fn write_in_two_parts(
    domain: &VirtDomain,
    file: &str,
    limit: Duration,
    meanwhile: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    /// How long the guest may be stopped for the rest of its RAM, in milliseconds.
    const DOWNTIME: u64 = 5;
    /// After this long, a guest that writes faster than its RAM can be saved is stopped for as long as it takes.
    const PATIENCE: Duration = Duration::from_secs(10);
    const ANY_DOWNTIME: u64 = 2_000_000;
    let parameters = json!({ "max-bandwidth": BANDWIDTH, "downtime-limit": DOWNTIME });
    execute(domain, "migrate-set-parameters", &parameters)?;
    execute(domain, "migrate", &to_file(file))?;
    // ext4 allocates all blocks of a truncated file when it is first closed, and QEMU truncates the file when it opens
    // it. This close comes before there are many blocks; at QEMU's own, the guest would be waiting.
    drop(std::fs::File::open(file));
    let started = Instant::now();
    let mut is_patient = true;
    wait_for(domain, "pre-switchover", limit, || {
        if is_patient && started.elapsed() > PATIENCE {
            is_patient = false;
            execute(domain, "migrate-set-parameters", &json!({ "downtime-limit": ANY_DOWNTIME }))?;
        }
        Ok(())
    })?;
    if let Err(error) = meanwhile() {
        execute(domain, "migrate_cancel", &json!({}))?;
        wait_for(domain, "cancelled", limit, || Ok(()))?;
        return Err(error);
    }
    execute(domain, "migrate-continue", &json!({ "state": "pre-switchover" }))?;
    wait_for(domain, "completed", limit, || Ok(()))?;
    wait_until_ready(domain)
}

/// Loads the state in a file into a guest that waits for it (`migrate-incoming`).
pub fn read_state(domain: &VirtDomain, file: &str, leaves_ram: bool, limit: Duration) -> Result<()> {
    migrate(domain, "migrate-incoming", file, leaves_ram, limit)
}

/// Moves a guest's state and waits for the end.
fn migrate(domain: &VirtDomain, command: &str, file: &str, leaves_ram: bool, limit: Duration) -> Result<()> {
    if leaves_ram {
        capability(domain, IGNORE_SHARED, true)?;
    } else {
        execute(domain, "migrate-set-parameters", &json!({ "max-bandwidth": BANDWIDTH }))?;
    }
    execute(domain, command, &to_file(file))?;
    wait_for(domain, "completed", limit, || Ok(()))?;
    if leaves_ram {
        // What libvirt does later with this guest must include all of it.
        capability(domain, IGNORE_SHARED, false)?;
    }
    Ok(())
}

/// Names a file for a guest's state. In a URI, part of its path could be taken for an offset.
fn to_file(file: &str) -> Value {
    let address = json!({ "transport": "file", "filename": file, "offset": 0 });
    json!({ "channels": [{ "channel-type": "main", "addr": address }] })
}

fn capability(domain: &VirtDomain, name: &str, state: bool) -> Result<()> {
    let capability = json!({ "capability": name, "state": state });
    execute(domain, "migrate-set-capabilities", &json!({ "capabilities": [capability] })).map(drop)
}

/// Waits until the move of a guest's state has reached the status `wanted`; `look` is called now and then.
fn wait_for(domain: &VirtDomain, wanted: &str, limit: Duration, mut look: impl FnMut() -> Result<()>) -> Result<()> {
    let started = Instant::now();
    loop {
        let status = execute(domain, "query-migrate", &json!({}))?;
        match status["status"].as_str() {
            Some(status) if status == wanted => return Ok(()),
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
        look()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_a_host_once_its_socket_is_connected() {
        let ends = |filename: &str, is_open: bool| {
            let devices = json!([
                { "label": "charchannel0", "filename": "unix:/a", "frontend-open": true },
                { "label": "charchannel1", "filename": filename, "frontend-open": is_open },
            ]);
            read_port_ends(&devices, "charchannel1")
        };
        for has_guest in [false, true] {
            let free = ends("disconnected:unix:/run/x,server=on", has_guest);
            assert_eq!(free, PortEnds { has_host: false, has_guest });
            assert_eq!(ends("unix:/run/x,server=on", has_guest), PortEnds { has_host: true, has_guest });
        }
        assert_eq!(read_port_ends(&json!([]), "charchannel1"), PortEnds::default());
    }
}
