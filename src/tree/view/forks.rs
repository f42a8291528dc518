//! The forks that are running.

use serde::Serialize;

use crate::error::Result;
use crate::name::MachineName;
use crate::tree::graft::sweep::{RunningClone, all_clones, clones};
use crate::tree::machine::engine::Engine;

/// A running fork. `snaptree forks --json` prints a list of these.
#[derive(Clone, Debug, Serialize)]
pub struct ForkInfo {
    /// Its domain's name.
    pub name: String,
    pub machine: String,
    /// The snapshot that it was made from.
    pub of: String,
    /// Whether it keeps running until it is stopped.
    pub kept: bool,
    /// When it was started, in seconds since the epoch, if that is known.
    pub since: Option<u64>,
    /// The user and the process that started it, if they are known.
    pub by: Option<String>,
    /// How much it adds to the memory in use, in bytes, if it can be measured.
    pub memory: Option<u64>,
    pub forwards: Vec<Forwarded>,
    pub forwards_back: Vec<ForwardedBack>,
}

/// A forwarded port.
#[derive(Clone, Debug, Serialize)]
pub struct Forwarded {
    /// The port in the guest.
    pub guest: u16,
    /// Its address on the host, such as `127.0.0.1:40123`.
    pub address: String,
}

impl Forwarded {
    pub fn new(guest: u16, host: u16) -> Self {
        Self { guest, address: format!("127.0.0.1:{host}") }
    }
}

/// A port of the guest's that leads to the host.
#[derive(Clone, Debug, Serialize)]
pub struct ForwardedBack {
    /// The port on the host.
    pub host: u16,
    /// Its address in the guest, such as `127.0.0.1:8080`.
    pub address: String,
}

impl ForwardedBack {
    pub fn new(host: u16, guest: u16) -> Self {
        Self { host, address: format!("127.0.0.1:{guest}") }
    }
}

/// Lists the running forks of a machine, or of all.
pub fn forks(engine: &Engine, machine: Option<&MachineName>) -> Result<Vec<ForkInfo>> {
    let clones = match machine {
        Some(machine) => clones(engine, &*engine.existing_now(machine)?)?,
        None => all_clones(engine)?,
    };
    let view = |RunningClone { domain, mark }: RunningClone| {
        // One that has just ended has neither.
        let ports = engine.hypervisor.ports(&domain).unwrap_or_default();
        Ok(ForkInfo {
            memory: engine.hypervisor.own_memory(&domain)?,
            forwards: ports.forwards.iter().map(|forward| Forwarded::new(forward.guest, forward.host)).collect(),
            forwards_back: ports.back.iter().map(|forward| ForwardedBack::new(forward.host, forward.guest)).collect(),
            name: domain,
            machine: mark.machine,
            of: mark.node,
            kept: mark.is_kept,
            since: mark.since,
            by: mark.by,
        })
    };
    clones.into_iter().filter(|clone| clone.mark.is_fork).map(view).collect()
}
