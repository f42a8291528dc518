//! Disks that are attached for one copy: they are no part of what a domain is.

use crate::libvirt::xml::element::Element;

/// With this, the serial of such a disk begins. Guests are told 20 letters of it.
pub const SERIAL: &str = "snaptree-";

/// Builds the description of such a disk. What is on it is lost with the host anyway, so nothing is flushed.
pub fn disk(file: &str, target: &str, serial: &str, is_read_only: bool) -> Element {
    let driver = Element::new("driver").with("name", "qemu").with("type", "raw").with("cache", "unsafe");
    let disk = Element::new("disk").with("type", "file").with("device", "disk").child(driver);
    let disk = disk.child(Element::new("source").with("file", file));
    let disk = disk.child(Element::new("target").with("dev", target).with("bus", "virtio"));
    let disk = disk.child(Element::new("serial").text(serial));
    if is_read_only { disk.child(Element::new("readonly")) } else { disk }
}

fn disks(domain: &Element) -> impl Iterator<Item = &Element> {
    domain.find("devices").into_iter().flat_map(|devices| devices.all("disk"))
}

fn is_transfer(disk: &Element) -> bool {
    disk.text_of("serial").is_some_and(|serial| serial.starts_with(SERIAL))
}

/// Lists the serials of such disks.
pub fn serials(domain: &Element) -> Vec<String> {
    let disks = disks(domain).filter(|disk| is_transfer(disk));
    disks.filter_map(|disk| disk.text_of("serial")).map(str::to_string).collect()
}

pub fn find<'d>(domain: &'d Element, serial: &str) -> Option<&'d Element> {
    disks(domain).find(|disk| disk.text_of("serial") == Some(serial))
}

/// Returns a name that no disk of the domain has.
pub fn free_target(domain: &Element) -> Option<String> {
    let is_free = |name: &String| {
        !disks(domain).any(|disk| disk.find("target").and_then(|target| target.get("dev")) == Some(name.as_str()))
    };
    ('a'..='z').rev().map(|letter| format!("vd{letter}")).find(is_free)
}

/// Leaves such disks out of a description.
pub fn clear(domain: &mut Element) {
    if let Some(devices) = domain.find_mut("devices") {
        devices.children.retain(|device| device.name != "disk" || !is_transfer(device));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_for_a_copy_is_told_from_the_domains_own() {
        let mut domain = Element::parse(
            "<domain><devices><disk><target dev='vda'/></disk><disk><target dev='vdz'/><serial>mine</serial></disk>\
             </devices></domain>",
        )
        .unwrap();
        let before = domain.to_string();
        assert_eq!(free_target(&domain).unwrap(), "vdy");
        let disk = disk("/x", "vdy", "snaptree-0123456789a", true);
        domain.find_mut("devices").unwrap().children.push(disk);
        assert_eq!(
            (serials(&domain), free_target(&domain).unwrap()),
            (vec!["snaptree-0123456789a".to_string()], "vdx".to_string())
        );
        assert!(find(&domain, "snaptree-0123456789a").is_some() && find(&domain, "snaptree-other").is_none());
        clear(&mut domain);
        assert_eq!(domain.to_string(), before);
    }
}
