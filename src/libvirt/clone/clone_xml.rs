//! The rules for making a clone's description: what is replaced, left out, kept or refused, since only one domain can
//! have it. docs/clones.md shows the same table.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::hypervisor::CloneSpec;
use crate::libvirt::clone::rule::{Identity, Place, Rule, Treatment, Verdict, goes, is_serial, keep};
use crate::libvirt::clone::{arguments, devices};
use crate::libvirt::xml::domain_facts::target;
use crate::libvirt::xml::domain_xml::{self, DomainType};
use crate::libvirt::xml::element::Element;
use crate::libvirt::xml::{disk_xml, metadata_xml};

/// Every rule, in the order in which they are applied.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    DOMAIN.iter().chain(arguments::RULES).chain(devices::RULES)
}

/// Builds the `<domain>` of a transient clone; `exists` says which files the host has.
pub fn build_clone(clone: &CloneSpec, domain_type: DomainType, exists: fn(&Path) -> bool) -> Result<Element> {
    let mut domain = domain_xml::parse(&clone.document)?;
    domain_xml::clean(&mut domain);
    let identity = Identity { name: &clone.name, uuid: &clone.uuid, nvram: &clone.nvram, exists };
    apply(&mut domain, &identity)
        .map_err(|cause| Error::failed(format!("the clone `{}` cannot be made", clone.name)).cause(cause))?;
    let overlay = |(target, file): (&String, &PathBuf)| disk_xml::qcow2(target, file);
    disk_xml::replace_disks(&mut domain, &clone.disks.iter().map(overlay).collect::<Vec<_>>())?;
    let is_of_clone = |disk: &&mut Element| target(disk).is_some_and(|target| clone.disks.contains_key(target));
    for source in disk_xml::disks_of(&mut domain).filter(is_of_clone).filter_map(|disk| disk.find_mut("source")) {
        // It says who may open the original's files, not those that are made for the clone.
        source.remove(&["seclabel"]);
    }
    metadata_xml::put(&mut domain, &clone.metadata)?;
    domain_xml::adapt(&mut domain, domain_type);
    Ok(domain)
}

/// Applies the rules to a domain's description; fails with the cause if it cannot be cloned.
pub fn apply(domain: &mut Element, identity: &Identity) -> Result<(), String> {
    for rule in rules() {
        match rule.place {
            Place::Domain => match (rule.apply)(domain, identity) {
                Verdict::Refused(cause) => return Err(cause),
                Verdict::Stays | Verdict::Goes => {}
            },
            Place::Top(name) => sift(&mut domain.children, &[name], rule, identity)?,
            Place::Devices(names) => {
                let devices = domain.find_mut("devices").map(|devices| &mut devices.children);
                devices.map_or(Ok(()), |devices| sift(devices, names, rule, identity))?;
            }
        }
    }
    Ok(())
}

/// Says why a domain cannot be cloned.
pub fn obstacle(domain: &Element) -> Option<String> {
    let mut domain = domain.clone();
    domain_xml::clean(&mut domain);
    apply(&mut domain, &Identity::none()).err()
}

/// Makes the descriptions of a domain and of all its clones the same.
pub fn normalize(domain: &mut Element) {
    // A domain that cannot be cloned is only like itself.
    let _ = apply(domain, &Identity::none());
}

fn sift(elements: &mut Vec<Element>, names: &[&str], rule: &Rule, identity: &Identity) -> Result<(), String> {
    let mut refusal = None;
    elements.retain_mut(|element| {
        if refusal.is_some() || !names.contains(&element.name.as_str()) {
            return true;
        }
        match (rule.apply)(element, identity) {
            Verdict::Stays => true,
            Verdict::Goes => false,
            Verdict::Refused(cause) => {
                refusal = Some(cause);
                true
            }
        }
    });
    refusal.map_or(Ok(()), Err)
}

const DOMAIN: &[Rule] = &[
    Rule {
        what: "`<name>`, `<uuid>`, `<genid>`, `<hwuuid>`",
        treatment: Treatment::Replaced,
        place: Place::Domain,
        apply: identify,
    },
    Rule {
        what: "`<sysinfo type='smbios'>`: the system's `uuid`, each `serial`",
        treatment: Treatment::Replaced,
        place: Place::Top("sysinfo"),
        apply: sysinfo,
    },
    Rule {
        what: "`<metadata>` of other programs",
        treatment: Treatment::LeftOut,
        place: Place::Top("metadata"),
        apply: goes,
    },
    Rule {
        what: "`<on_poweroff>`, `<on_reboot>`, `<on_crash>`, `<on_lockfailure>`",
        treatment: Treatment::LeftOut,
        place: Place::Domain,
        apply: |domain, _| {
            domain.remove(&["on_poweroff", "on_reboot", "on_crash", "on_lockfailure"]);
            Verdict::Stays
        },
    },
    Rule { what: "`<resource>`", treatment: Treatment::LeftOut, place: Place::Top("resource"), apply: goes },
    Rule {
        what: "`<cachetune>`, `<memorytune>`",
        treatment: Treatment::LeftOut,
        place: Place::Top("cputune"),
        apply: |cputune, _| {
            cputune.remove(&["cachetune", "memorytune"]);
            Verdict::Stays
        },
    },
    Rule {
        what: "`<seclabel type='static'>` of SELinux or AppArmor",
        treatment: Treatment::LeftOut,
        place: Place::Top("seclabel"),
        apply: |label, _| match (label.get("type"), label.get("model")) {
            (Some("static"), Some("selinux" | "apparmor")) => Verdict::Goes,
            _ => Verdict::Stays,
        },
    },
    Rule {
        what: "`<loader type='pflash'>` without `readonly='yes'`",
        treatment: Treatment::Refused,
        place: Place::Top("os"),
        apply: writable_firmware,
    },
    Rule {
        what: "`<nvram>` on a block device or the network",
        treatment: Treatment::Refused,
        place: Place::Top("os"),
        apply: |os, _| match os.find("nvram").and_then(|nvram| nvram.get("type")) {
            None | Some("file") => Verdict::Stays,
            Some(kind) => {
                Verdict::Refused(format!("its firmware's variables are not in a file (`<nvram type='{kind}'>`)"))
            }
        },
    },
    Rule { what: "`<nvram>` in a file", treatment: Treatment::Replaced, place: Place::Top("os"), apply: nvram },
    Rule {
        what: "`<kernel>`, `<initrd>`, `<dtb>`, `<acpi>`, read-only `<loader>`",
        treatment: Treatment::Kept,
        place: Place::Top("os"),
        apply: keep,
    },
    Rule { what: "`<memoryBacking>`", treatment: Treatment::Kept, place: Place::Top("memoryBacking"), apply: keep },
];

fn identify(domain: &mut Element, identity: &Identity) -> Verdict {
    domain.put(Element::new("name").text(identity.name));
    domain.put(Element::new("uuid").text(identity.uuid));
    // Without it the guest sees the uuid.
    domain.remove(&["hwuuid"]);
    if let Some(generation) = domain.find_mut("genid") {
        generation.text = identity.uuid.to_string();
    }
    Verdict::Stays
}

fn sysinfo(sysinfo: &mut Element, identity: &Identity) -> Verdict {
    if sysinfo.get("type") == Some("smbios") {
        let tables = sysinfo.children.iter_mut().filter(|table| table.name != "oemStrings");
        for entry in tables.flat_map(|table| &mut table.children) {
            let is_id = match entry.get("name") {
                Some("uuid") => true,
                Some("serial") => is_serial(&entry.text),
                _ => false,
            };
            if is_id {
                // libvirt accepts no other uuid here than the domain's.
                entry.text = identity.uuid.to_string();
            }
        }
    }
    Verdict::Stays
}

fn writable_firmware(os: &mut Element, _: &Identity) -> Verdict {
    match os.find("loader") {
        Some(loader) if loader.get("type") == Some("pflash") && loader.get("readonly") != Some("yes") => {
            let path = loader.text.trim();
            let name = if path.is_empty() { String::new() } else { format!(" `{path}`") };
            Verdict::Refused(format!("its guest may write to its firmware{name}"))
        }
        _ => Verdict::Stays,
    }
}

/// Gives the clone a file for its firmware's variables, which libvirt makes at its start as a copy of the original's,
/// or of their template if the original was never started.
fn nvram(os: &mut Element, identity: &Identity) -> Verdict {
    let chooses = os.get("firmware") == Some("efi");
    let is_stateless = os.find("loader").is_some_and(|loader| loader.get("stateless") == Some("yes"));
    if is_stateless || !chooses && os.find("nvram").is_none() {
        return Verdict::Stays;
    }
    let own = identity.nvram.to_string_lossy();
    let mut nvram = os.find("nvram").cloned().unwrap_or_else(|| Element::new("nvram"));
    let original = nvram.find("source").and_then(|source| source.get("file")).unwrap_or(nvram.text.trim()).to_string();
    let has_loader = os.find("loader").is_some_and(|loader| !loader.text.trim().is_empty());
    if has_loader && !original.is_empty() && (identity.exists)(Path::new(&original)) {
        nvram.set("template", original);
        match nvram.get("format").map(str::to_string) {
            Some(format) if format != "raw" => nvram.set("templateFormat", format),
            _ => nvram.attributes.retain(|(key, _)| key != "templateFormat"),
        }
        // If libvirt chooses the firmware, it accepts no template but that firmware's own.
        os.attributes.retain(|(key, _)| key != "firmware");
        os.remove(&["firmware"]);
    } else if chooses && nvram.get("template").is_none() {
        os.remove(&["loader"]);
    }
    nvram.attributes.retain(|(key, _)| key != "type");
    nvram.children.clear();
    nvram.text = own.into_owned();
    os.put(nvram);
    Verdict::Stays
}

#[cfg(test)]
mod tests;
