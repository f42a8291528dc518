//! Checks this host and explains what limits it.

use std::path::PathBuf;

use serde::Serialize;

use crate::error::Result;
use crate::hypervisor::{Accelerator, Liveness, Reaping};
use crate::tree::clone::ram::liveness;
use crate::tree::machine::engine::Engine;

/// The results. This is the schema of `snaptree doctor --json`.
#[derive(Clone, Debug, Serialize)]
pub struct Checkup {
    /// The connection's URI.
    pub connection: String,
    /// libvirt's version.
    pub libvirt: String,
    /// The program that runs guests, and its version.
    pub emulator: String,
    pub accelerator: Finding,
    /// How live snapshots keep the RAM: `mapped`, `saved` or `no`.
    pub live: Finding,
    /// How soon a stopped guest's process is gone; none if no QEMU runs.
    pub reaping: Option<Reaping>,
    /// Where layers and RAM are.
    pub store: PathBuf,
}

#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub is: &'static str,
    /// Why it is not better.
    pub because: Option<String>,
}

/// Checks what this host can do.
pub fn checkup(engine: &Engine) -> Result<Checkup> {
    engine.store.create_directory(engine.store.root())?;
    let finding = |is, because| Finding { is, because };
    Ok(Checkup {
        connection: engine.hypervisor.uri(),
        libvirt: engine.hypervisor.version()?.to_string(),
        emulator: engine.hypervisor.emulator()?,
        accelerator: match engine.hypervisor.accelerator()? {
            Accelerator::Kvm => finding("KVM", None),
            Accelerator::Tcg(because) => finding("TCG", Some(because)),
        },
        live: match liveness(engine, None)? {
            Liveness::Mapped => finding("mapped", None),
            Liveness::Saved(because) => finding("saved", Some(because)),
            Liveness::No(because) => finding("no", Some(because)),
        },
        reaping: engine.hypervisor.reaping(),
        store: engine.store.root().to_path_buf(),
    })
}
