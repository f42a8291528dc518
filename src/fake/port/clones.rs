//! Calls on clones and on frozen guests.

use std::path::Path;

use crate::error::{Because, Result};
use crate::fake::change::live;
use crate::fake::port::fake::Fake;
use crate::fake::record::snapshot_document::domain_in;

use crate::hypervisor::{CatchUp, CloneSpec, Clones, Document, Domains, Fingerprint, Frozen, Liveness, Ram};

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::copy(from, to).map(drop).because(|| format!("cannot copy `{}`", from.display()))
}

impl Clones for Fake {
    fn liveness(&self, document: Option<&Document>, _: &Path) -> Result<Liveness> {
        document.map_or(Ok(Liveness::Mapped), |document| Ok(live::liveness(&domain_in(document)?)))
    }

    fn fingerprint(&self, document: &Document) -> Result<Fingerprint> {
        Ok(live::fingerprint(&domain_in(document)?))
    }

    fn has_generation_id(&self, _: &Document) -> Result<bool> {
        Ok(false)
    }

    fn obstacle_to_clone(&self, document: &Document) -> Result<Option<String>> {
        let document = domain_in(document)?;
        Ok(document.host_devices.then(|| "it has a device of the host".to_string()))
    }

    fn obstacle_in(&self, extra_xml: &str) -> Result<Option<String>> {
        Ok(extra_xml.contains("<hostdev").then(|| "it has a device of the host".to_string()))
    }

    fn start_clone(&self, clone: &CloneSpec) -> Result<()> {
        self.store.change(|state| state.start_clone(clone))
    }

    fn wake(&self, name: &str, _: &Ram, from: &Frozen, paused: bool) -> Result<()> {
        self.store.change(|state| state.wake(name, from, paused))
    }

    fn freeze(&self, name: &str, frozen: &Frozen) -> Result<()> {
        self.store.change(|state| state.freeze(name, frozen))
    }

    fn freeze_running(&self, name: &str, file: &Path, meanwhile: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        self.suspend(name)?;
        meanwhile()?;
        self.freeze(name, &Frozen::Whole(file.to_path_buf()))
    }

    fn copy_ram(&self, from: &Path, to: &Path) -> Result<()> {
        copy(from, to)
    }

    fn follow_ram(&self, from: &Path, to: &Path) -> Result<CatchUp> {
        self.copy_ram(from, to)?;
        let (from, to) = (from.to_path_buf(), to.to_path_buf());
        Ok(Box::new(move || copy(&from, &to)))
    }
}
