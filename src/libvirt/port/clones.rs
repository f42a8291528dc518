//! Calls on clones and on frozen guests.

use std::path::Path;

use crate::error::Result;
use crate::hypervisor::{CatchUp, CloneSpec, Clones, Document, Facts, Fingerprint, Frozen, Liveness, Ram};
use crate::libvirt::clone::clone_xml;
use crate::libvirt::domain::domains;
use crate::libvirt::embed;
use crate::libvirt::host::kvm;
use crate::libvirt::memory::live;
use crate::libvirt::memory::live_trial::{self, Question};
use crate::libvirt::port::libvirt::{DEFAULT_EMULATOR, Libvirt, with_version};
use crate::libvirt::xml::element::Element;
use crate::libvirt::xml::{domain_xml, live_xml};

impl Clones for Libvirt {
    fn liveness(&self, document: Option<&Document>, directory: &Path) -> Result<Liveness> {
        let domain = document.map(domain_xml::parse).transpose()?;
        if let Some(obstacle) = domain.as_ref().and_then(live_xml::obstacle_to_save) {
            return Ok(Liveness::No(obstacle.to_string()));
        }
        if self.is_simulated() {
            return Ok(Liveness::No("libvirt's test driver runs no guests".to_string()));
        }
        if let Some(obstacle) = domain.as_ref().and_then(live_xml::obstacle_to_map) {
            return Ok(Liveness::Saved(obstacle.to_string()));
        }
        let mut known = self.liveness.lock();
        if let Some((_, liveness)) = known.iter().find(|(place, _)| place == directory) {
            return Ok(liveness.clone());
        }
        let question = Question {
            boot_id: kvm::boot_id(),
            uri: self.uri(),
            emulator: self.default_emulator(),
            versions: self.versions()?,
            directory: directory.to_path_buf(),
        };
        let (connect, owner, kind) = (self.connect(), self.owner(), self.domain_type()?);
        let forget = |name: &str| self.remove_log(name);
        let liveness = live_trial::liveness(&connect, question, &self.cache, owner, kind, &forget)?;
        known.push((directory.to_path_buf(), liveness.clone()));
        Ok(liveness)
    }

    fn fingerprint(&self, document: &Document) -> Result<Fingerprint> {
        let mut domain = domain_xml::parse(document)?;
        domain_xml::adapt(&mut domain, self.domain_type()?);
        // The guest is a clone's, which may have fewer devices than the original.
        clone_xml::normalize(&mut domain);
        let mut fingerprint = live_xml::fingerprint(&domain);
        let emulator = domain.find("devices").and_then(|devices| devices.text_of("emulator"));
        let [_, qemu] = self.versions()?;
        fingerprint.insert("QEMU".to_string(), with_version(emulator.unwrap_or(DEFAULT_EMULATOR), qemu));
        Ok(fingerprint)
    }

    fn has_generation_id(&self, document: &Document) -> Result<bool> {
        Ok(domain_xml::parse(document)?.find("genid").is_some())
    }

    fn obstacle_to_clone(&self, document: &Document) -> Result<Option<String>> {
        Ok(clone_xml::obstacle(&domain_xml::parse(document)?))
    }

    fn obstacle_in(&self, extra_xml: &str) -> Result<Option<String>> {
        // Malformed devices are refused when the machine is defined.
        let devices = Element::parse_all(extra_xml).unwrap_or_default();
        Ok(clone_xml::obstacle(&Element::new("domain").child(Element::new("devices").children(devices))))
    }

    fn start_clone(&self, clone: &CloneSpec) -> Result<()> {
        let mut domain = clone_xml::build_clone(clone, self.domain_type()?, Path::exists)?;
        if let Some(root) = embed::root_of(&self.uri) {
            domain_xml::place_ports(&mut domain, |port| embed::socket(&root, &clone.uuid, port))?;
        }
        // If nothing of QEMU's own may be in a domain, the RAM is left to libvirt.
        if clone.ram != Ram::Default {
            live_xml::ask_less(&mut domain);
        }
        live::start(&self.connect(), &clone.name, domain, &clone.ram, clone.from.as_ref(), clone.paused, self.owner())
    }

    fn wake(&self, name: &str, ram: &Ram, from: &Frozen, paused: bool) -> Result<()> {
        let mut domain = domain_xml::parse(&domains::next_document(&self.must_find(name)?, name)?)?;
        domain_xml::set_generation_id(&mut domain, &uuid::Uuid::new_v4().to_string());
        live::start(&self.connect(), name, domain, ram, Some(from), paused, self.owner())
    }

    fn freeze(&self, name: &str, state: &Frozen) -> Result<()> {
        let domain = self.must_find(name)?;
        let _hold = self.without_transfer(&domain)?;
        live::freeze(&domain, name, state, self.owner())
    }

    fn freeze_running(&self, name: &str, file: &Path, meanwhile: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let domain = self.must_find(name)?;
        let _hold = self.without_transfer(&domain)?;
        live::freeze_running(&domain, name, file, self.owner(), meanwhile)
    }

    fn copy_ram(&self, from: &Path, to: &Path) -> Result<()> {
        live::copy_ram(from, to, self.owner())
    }

    fn follow_ram(&self, from: &Path, to: &Path) -> Result<CatchUp> {
        let following = live::follow_ram(from, to, self.owner())?;
        Ok(Box::new(move || following.catch_up()))
    }
}
