//! Calls on domains.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::fake::port::fake::Fake;
use crate::fake::record::snapshot_document;
use crate::hypervisor::{
    DiskChanges, DiskFile, Document, Domain, DomainDetails, DomainSpec, Domains, Image, Saved, Start,
};
use crate::stop::Stop;

impl Domains for Fake {
    fn domains(&self) -> Result<Vec<Domain>> {
        self.store.look(|state| Ok(state.list_domains()))
    }

    fn domain(&self, name: &str) -> Result<Option<DomainDetails>> {
        self.store.look(|state| state.find_domain(name))
    }

    fn live_document(&self, name: &str) -> Result<Document> {
        self.store.look(|state| state.record(name)?.now().print())
    }

    fn disk_images(&self, name: &str) -> Result<Vec<Image>> {
        self.store.look(|state| state.disk_images(name))
    }

    fn define(&self, spec: &DomainSpec) -> Result<()> {
        self.store.change(|state| state.define(spec))
    }

    fn redefine(&self, domain: &str, document: &Document, now: &Document, disks: &DiskChanges) -> Result<()> {
        self.store.change(|state| state.redefine(domain, document, now, disks))
    }

    fn undefine(&self, name: &str) -> Result<()> {
        self.store.change(|state| state.undefine(name))
    }

    fn start(&self, name: &str, start: Start) -> Result<()> {
        self.store.change(|state| state.start(name, start))
    }

    fn attach(&self, name: &str, _: &Document, disk: &DiskFile) -> Result<()> {
        // A snapshot here has one description of its domain, so that no disk is a running guest's alone.
        Err(Error::bug(format!("fake `{name}` starts with disk `{}`", disk.target)))
    }

    fn shutdown(&self, name: &str) -> Result<()> {
        self.store.change(|state| state.shutdown(name))
    }

    fn suspend(&self, name: &str) -> Result<()> {
        self.store.change(|state| state.suspend(name))
    }

    fn resume(&self, name: &str) -> Result<()> {
        self.store.change(|state| state.resume(name))
    }

    fn save(&self, name: &str, file: &Path) -> Result<Saved> {
        self.store.change(|state| state.save(name, file)).map(|()| Saved::Written)
    }

    fn restore(&self, file: &Path, disks: &DiskChanges, paused: bool) -> Result<()> {
        self.store.change(|state| state.restore(file, disks, paused))
    }

    fn pull(&self, name: &str, target: &str, stop: &Stop) -> Result<()> {
        stop.check(|| format!("pulling disk `{target}` of `{name}`"))?;
        self.store.change(|state| state.pull(name, target))
    }

    fn destroy(&self, name: &str) -> Result<()> {
        self.store.change(|state| {
            state.stop(name);
            Ok(())
        })
    }

    fn wait_until_gone(&self, domain: &str, stop: &Stop) -> Result<()> {
        const PAUSE: Duration = Duration::from_millis(10);
        while self.store.look(|state| Ok(state.is_active(domain)))? {
            stop.check(|| format!("waiting until `{domain}` is gone"))?;
            stop.sleep(PAUSE);
        }
        Ok(())
    }

    fn files_named_in(&self, document: &Document) -> Result<Vec<PathBuf>> {
        snapshot_document::files_in(document)
    }
}
