//! Live snapshots: how a clone gets the RAM of its origin, and how its own RAM is kept.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::hypervisor::{Connections, Document, Fingerprint, Frozen, Liveness, MappedMemory, Memory, Ram};
use crate::name::SnapshotName;
use crate::stop::Stop;
use crate::tree::clone::origin::Origin;
use crate::tree::clone::ram_plan::{RamPlace, RamPlan, UsableRam};
use crate::tree::clone::ram_policy::RamPolicy;
use crate::tree::machine::clone_mark::Purpose;
use crate::tree::machine::engine::Engine;
use crate::tree::machine::forced::Forced;
use crate::tree::machine::machine::Machine;
use crate::tree::record::node::Node;
use crate::tree::record::ram::KeptRam;

/// How a clone starts.
pub struct Beginning {
    pub ram: Ram,
    /// The RAM that its guest resumes from; without it the guest boots.
    pub from: Option<Frozen>,
    pub keeps: RamPolicy,
    pub fits: Fingerprint,
}

/// Returns how the RAM of a guest in this domain, or in an ordinary one, can be kept.
pub fn liveness(engine: &Engine, document: Option<&Document>) -> Result<Liveness> {
    let forced = |word: &str| format!("SNAPTREE_LIVE is `{word}`");
    match engine.forced_live {
        Some(Forced::No) => return Ok(Liveness::No(forced("no"))),
        Some(Forced::Mapped) => return Ok(Liveness::Mapped),
        Some(Forced::Saved) | None => {}
    }
    Ok(match engine.hypervisor.liveness(document, engine.store.root())? {
        Liveness::Mapped if engine.forced_live == Some(Forced::Saved) => Liveness::Saved(forced("saved")),
        liveness => liveness,
    })
}

/// Decides how a clone starts. A branch keeps its RAM if it is `live`, by default if the host can.
pub fn beginning(
    engine: &Engine,
    machine: &Machine,
    origin: &Origin,
    node: &SnapshotName,
    purpose: Purpose,
    live: Option<bool>,
) -> Result<Beginning> {
    let liveness = liveness(engine, Some(&origin.document))?;
    if let (Liveness::No(why), Some(true)) = (&liveness, live) {
        return Err(Error::failed(format!("`{node}` cannot have its RAM kept"))
            .cause(why)
            .hint("leave out `live = true` to keep only its disks"));
    }
    if let Liveness::Saved(why) = &liveness {
        engine.note_once(format!("libvirt saves the RAM of live snapshots here, which takes longer: {why}"));
    }
    let fits = engine.hypervisor.fingerprint(&origin.document)?;
    let from = usable_or_noted(engine, origin, &fits, &liveness);
    let RamPlan { place, from } = RamPlan::of(from, &liveness, purpose.keeps_states(), live);
    let (ram, keeps) = match place {
        RamPlace::NewFile { copy_of } => {
            let own = engine.store.new_file(&machine.directory, &node.slug(), "ram")?;
            if let Some(origin) = copy_of {
                engine.hypervisor.copy_ram(&origin, &own)?;
            }
            (Ram::Shared(own.clone()), RamPolicy::Mapped(own))
        }
        RamPlace::NoFile(ram, keeps) => (ram, keeps),
    };
    Ok(Beginning { ram, from, keeps, fits })
}

/// Returns the RAM from which the machine itself can resume a live snapshot, or notes once why it cannot.
pub fn memory_to_wake(engine: &Engine, node: &Node) -> Result<Option<MappedMemory>> {
    // Its own disks are checked elsewhere.
    let (name, document) = (SnapshotName::new(node.name())?, node.snapshot.document.clone());
    let origin = Origin { name, document, layers: Vec::new(), ram: node.ram() };
    let fits = engine.hypervisor.fingerprint(&origin.document)?;
    Ok(match usable_or_noted(engine, &origin, &fits, &liveness(engine, Some(&origin.document))?) {
        Some(UsableRam::Mapped(memory)) => Some(memory),
        Some(UsableRam::Saved(_)) | None => None,
    })
}

/// Wakes the guest of a resumed machine, whose connections are reset; without an agent the guest keeps its clock. Returns whether it did.
pub fn wake_guest(engine: &Engine, domain: &str) -> bool {
    const LIMIT: Duration = Duration::from_secs(10);
    let stop = Stop::after(LIMIT, &engine.interrupt);
    let guest = engine.hypervisor.guest(domain);
    guest.and_then(|guest| guest.wake(Connections::Reset, &stop)).is_ok()
}

/// Returns the RAM from which a clone can resume. If there is RAM that cannot be used, it notes once why.
fn usable_or_noted(engine: &Engine, origin: &Origin, now: &Fingerprint, liveness: &Liveness) -> Option<UsableRam> {
    let has_file = matches!(origin.ram.memory, Memory::External(_) | Memory::Mapped(_));
    let note = |why| engine.note_once(format!("cannot resume `{}` ({why}): booting from its disks", origin.name));
    usable(&origin.ram, now, liveness).map_err(|why| has_file.then(|| note(why))).ok()
}

/// Returns why the guest of a clone would have to boot.
pub fn why_not_live(engine: &Engine, origin: &Origin) -> Result<Option<String>> {
    let fits = engine.hypervisor.fingerprint(&origin.document)?;
    Ok(usable(&origin.ram, &fits, &liveness(engine, Some(&origin.document))?).err())
}

/// Returns the RAM from which a guest can resume, or why it cannot.
fn usable(ram: &KeptRam, now: &Fingerprint, liveness: &Liveness) -> std::result::Result<UsableRam, String> {
    let usable = match (&ram.memory, liveness) {
        (Memory::No, _) => return Err("it has no RAM".to_string()),
        (Memory::Internal, _) => return Err("its RAM is in its disk".to_string()),
        (_, Liveness::No(why)) | (Memory::Mapped(_), Liveness::Saved(why)) => return Err(why.clone()),
        (Memory::External(image), _) => UsableRam::Saved(image.clone()),
        (Memory::Mapped(mapped), Liveness::Mapped) => UsableRam::Mapped(mapped.clone()),
    };
    mismatch(&ram.fits, now).map_or(Ok(usable), Err)
}

/// Describes a requirement of a state that this host no longer meets.
fn mismatch(was: &Fingerprint, now: &Fingerprint) -> Option<String> {
    let differs = |(name, was): (&String, &String)| {
        let now = now.get(name).map_or("none", String::as_str);
        (now != was).then(|| format!("its {name} was {was}, is now {now}"))
    };
    was.iter().find_map(differs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_named() {
        let print = |facts: &[(&str, &str)]| facts.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let was: Fingerprint = print(&[("QEMU", "10.0.2"), ("memory", "1")]);
        assert_eq!(mismatch(&was, &was), None);
        assert_eq!(mismatch(&Fingerprint::new(), &was), None);
        let now = print(&[("QEMU", "10.1.0"), ("memory", "1"), ("more", "x")]);
        assert_eq!(mismatch(&was, &now).as_deref(), Some("its QEMU was 10.0.2, is now 10.1.0"));
        assert_eq!(mismatch(&was, &print(&[("QEMU", "10.0.2")])).as_deref(), Some("its memory was 1, is now none"));
    }
}
